//! A bucket of S3 as a tree: an object's key is a file's path, whoever put it. Or as a keeper of data objects,
//! whose names somebody else knows (`objects`): a key is an object's id.
//!
//! Reading goes to the bucket, each GET pinned to a version. Changes are gathered in a state folder of
//! this host and sent up before a COMMIT answers. Names, ids and what is under way are durable there;
//! attributes are in the objects' own metadata, where other tools find them.
//!
//! Never here: NFS, the metadata server, the catalog.

mod attach;
mod body;
mod bucket;
mod change;
mod failure;
mod folders;
mod ids;
mod key;
mod listing;
mod looked;
mod lost;
mod meta;
mod mirror;
mod names;
mod objects;
mod offered;
mod parts;
mod read;
mod records;
mod rename;
mod rows;
mod spool;
mod tree;
mod untold;
mod upload;
mod uploads;
mod upstream;
mod work;
mod xattrs;

pub use attach::{AttachError, Attached, Keys, Options, S3Mirror, Writers};
pub use meta::Defaults;
pub use objects::{S3Objects, Whose};
pub use records::Records;
pub use upstream::S3Upstream;
