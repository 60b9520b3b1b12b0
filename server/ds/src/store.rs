//! What lies on the disk: the folder, its objects, their records, and the space they take.
//! Blocking throughout, and called on worker threads; never network types or NFS statuses.

mod abilities;
mod cuts;
mod folder;
mod objects;
mod reflink;
mod space;

pub use abilities::probe;
pub use cuts::Cuts;
pub use folder::{Folder, FolderError, inner_path, outer_path};
pub use objects::{Create, Created, Object, Objects};
pub use reflink::share_blocks;
pub use space::{BLOCK_BYTES, Space};
