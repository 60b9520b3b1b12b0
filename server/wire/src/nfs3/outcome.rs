//! The union that every result is: `switch (nfsstat3 status)`, here a [`Result`]. Never here: the
//! arms of a particular procedure.

use super::Nfsstat3;
use crate::xdr::{DecodeError, Decoder, Encoder, Fault, Xdr};

const NFS3_OK: u32 = 0;

/// What a procedure answers.
pub type Outcome<T, F> = Result<T, Failed<F>>;

/// The arm of a result for all that is not NFS3_OK: the status, and what the procedure still says
/// about its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed<F> {
    pub status: Nfsstat3,
    pub about: F,
}

impl<F: Default> From<Nfsstat3> for Failed<F> {
    fn from(status: Nfsstat3) -> Self {
        Self {
            status,
            about: F::default(),
        }
    }
}

impl<T: Xdr, F: Xdr> Xdr for Outcome<T, F> {
    fn encode(&self, out: &mut Encoder) {
        match self {
            Ok(value) => {
                out.u32(NFS3_OK);
                value.encode(out);
            }
            Err(failed) => {
                failed.status.encode(out);
                failed.about.encode(out);
            }
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let at = input.offset();
        let status = input.u32()?;
        if status == NFS3_OK {
            return T::decode(input).map(Ok);
        }
        let status = Nfsstat3::from_u32(status).ok_or_else(|| {
            input.fail_at(
                at,
                Fault::BadDiscriminant {
                    what: "nfsstat3",
                    value: status,
                },
            )
        })?;
        Ok(Err(Failed {
            status,
            about: F::decode(input)?,
        }))
    }
}
