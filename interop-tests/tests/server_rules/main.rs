//! What a client may count on, tried at the level of COMPOUNDs on a running metadata server with data servers
//! of its own, all on loopback. Rules of sessions alone are in `session_rules`.

mod acls;
mod attribute_table;
mod attributes;
mod clock;
mod copies;
mod courtesy;
mod data;
mod delegations;
mod direct;
mod exports;
mod fences;
mod hostile;
mod identities;
mod labels;
mod layouts;
mod listing;
mod locks;
mod names;
mod opens;
mod operations;
mod operations_page;
mod outages;
mod placement;
mod promises;
mod ranges;
mod referrals;
mod refusals;
mod restart;
mod returns;
mod rights;
mod stranger;
mod truncate;
mod unfit;
mod world;
mod xattrs;
