//! What RFC 8881 asks of sessions and of COMPOUND itself, tried on a running server by a client that takes
//! no care. Files appear only where a rule needs one to show.

mod compound;
mod create_session;
mod destroy;
mod exchange_id;
mod sequence;
mod server;
