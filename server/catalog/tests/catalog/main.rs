//! The catalog as its callers see it: through its public calls alone.

mod adopted;
mod bulk;
mod crash;
mod group_commit;
mod keepers;
mod model;
mod namespace;
mod objects;
mod opening;
mod store;
mod world;
mod xattrs;
