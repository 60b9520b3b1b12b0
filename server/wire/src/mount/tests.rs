use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::portmap::Mapping;
use crate::testing::{bears, survives};

fn bytes(limit: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..=limit).prop_map(Bytes::from)
}

fn dirpath() -> impl Strategy<Value = Dirpath> {
    bytes(40).prop_map(|bytes| Dirpath::new(bytes).unwrap())
}

fn name() -> impl Strategy<Value = Name> {
    bytes(20).prop_map(|bytes| Name::new(bytes).unwrap())
}

fn result() -> impl Strategy<Value = Mountres3> {
    let flavors = prop::collection::vec(any::<u32>(), 0..=AUTH_FLAVORS_MAX);
    let status = prop::sample::select(vec![
        Mountstat3::Perm,
        Mountstat3::Noent,
        Mountstat3::Io,
        Mountstat3::Acces,
        Mountstat3::Notdir,
        Mountstat3::Inval,
        Mountstat3::Nametoolong,
        Mountstat3::Notsupp,
        Mountstat3::Serverfault,
    ]);
    prop_oneof![
        (bytes(64), flavors).prop_map(|(handle, auth_flavors)| {
            Ok(Mountres3ok {
                fhandle: Fh3::new(handle).unwrap(),
                auth_flavors,
            })
        }),
        status.prop_map(Err),
    ]
}

proptest! {
    #[test]
    fn results_survive_the_wire(
        result in result(),
        mounts in prop::collection::vec((name(), dirpath()), 0..5),
        exports in prop::collection::vec((dirpath(), prop::collection::vec(name(), 0..4)), 0..5),
        [program, version, protocol, port] in any::<[u32; 4]>(),
    ) {
        survives(&result)?;
        let mounts = mounts
            .into_iter()
            .map(|(hostname, directory)| Mountbody { hostname, directory });
        survives(&Mountlist(mounts.collect()))?;
        let exports = exports.into_iter().map(|(dir, groups)| Exportnode { dir, groups });
        survives(&Exports(exports.collect()))?;
        survives(&Mapping { program, version, protocol, port })?;
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        bears::<Mountres3>(&bytes)?;
        bears::<Mountlist>(&bytes)?;
        bears::<Exports>(&bytes)?;
        bears::<Dirpath>(&bytes)?;
    }
}
