//! What a bucket's refusals mean, in the contract's few kinds and in words for people.
//!
//! Never here: requests.

use crate::ids::IdsError;
use crate::key::NameFault;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use backend::tree::{TreeError, TreeErrorKind};
use std::time::Duration;

/// When to come again after the bucket, or the way to it, failed a call for all its retries.
const COME_AGAIN: Duration = Duration::from_secs(1);

pub(crate) fn come_again(detail: impl Into<String>) -> TreeError {
    TreeError::new(TreeErrorKind::Retry { after: COME_AGAIN }, detail)
}

/// `what`: what was asked of whom, as "bucket b at e: getting k".
pub(crate) fn failure<E>(what: &str, error: &SdkError<E, HttpResponse>) -> TreeError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let Some(response) = error.raw_response() else {
        let why = match error {
            SdkError::TimeoutError(_) => "no answer in time".to_owned(),
            _ => DisplayErrorContext(error).to_string(),
        };
        // No credentials is a failure to build the request, and nothing that passes.
        return if why.contains("credentials") && !matches!(error, SdkError::TimeoutError(_)) {
            TreeError::new(
                TreeErrorKind::Denied,
                format!("{what}: there are no usable credentials ({why})"),
            )
        } else {
            come_again(format!("{what}: {why}"))
        };
    };
    let status = response.status().as_u16();
    let code = error.code().unwrap_or_default();
    let (kind, words) = meaning(status, code);
    let said = error
        .message()
        .map_or_else(String::new, |message| format!(": {message}"));
    TreeError::new(kind, format!("{what}: {words} ({status} {code}{said})"))
}

fn meaning(status: u16, code: &str) -> (TreeErrorKind, &'static str) {
    use TreeErrorKind::*;
    match (status, code) {
        (_, "NoSuchBucket") => (Broken, "there is no such bucket"),
        (_, "NoSuchUpload") => (Gone, "the upload isn't there any more"),
        (
            _,
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
        )
        | (301 | 307, _) => (Broken, "the bucket lies in another region; name that one"),
        (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => {
            (Denied, "the credentials have expired; renew them")
        }
        (_, "RequestTimeTooSkewed" | "RequestExpired") => (
            Denied,
            "the clock of this host and the bucket's differ too much; set it",
        ),
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken") => {
            (Denied, "the credentials aren't known there")
        }
        (_, "QuotaExceeded" | "XMinioAdminBucketQuotaExceeded") => (OverQuota, "over quota"),
        (_, "EntityTooLarge") => (TooLarge, "too large for an object"),
        (_, "KeyTooLongError") => (NameTooLong, "the key is too long"),
        (_, "MetadataTooLarge") => (Full, "an object's metadata holds 2 KiB at most"),
        (_, "PreconditionFailed") | (412, _) => (Conflict, "somebody else changed it"),
        // Two conditional writes met: which of them stands isn't known to either yet.
        (_, "ConditionalRequestConflict" | "OperationAborted") => (
            Retry { after: COME_AGAIN },
            "somebody else is writing it at this moment",
        ),
        (_, "SlowDown" | "RequestTimeout" | "ServiceUnavailable" | "InternalError")
        | (429 | 500..=599, _) => match status {
            507 => (Full, "no space left"),
            501 => (Unsupported, "the bucket's server can't do that"),
            _ => (Retry { after: COME_AGAIN }, "the bucket's server is busy"),
        },
        (_, "InvalidObjectState") => (
            Denied,
            "the object lies in an archive and must be restored first",
        ),
        (_, "AccessDenied" | "Forbidden") | (401 | 403, _) => {
            (Denied, "the bucket's policy doesn't allow it")
        }
        (405, _) => (Unsupported, "the bucket's server can't do that"),
        (404, _) => (NoEntry, "there is no such object"),
        _ => (Broken, "refused"),
    }
}

pub(crate) fn of_state(error: &IdsError) -> TreeError {
    TreeError::new(TreeErrorKind::Broken, error.to_string())
}

pub(crate) fn of_disk(what: &str, error: &std::io::Error) -> TreeError {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => TreeErrorKind::Full,
        _ => TreeErrorKind::Broken,
    };
    TreeError::new(kind, format!("{what}: {error}"))
}

pub(crate) fn of_name(fault: NameFault) -> TreeError {
    let (kind, words) = match fault {
        NameFault::TooLong => (TreeErrorKind::NameTooLong, "the name is too long"),
        NameFault::Impossible => (TreeErrorKind::Invalid, "no key can have this name"),
        NameFault::Nothing => (
            TreeErrorKind::Invalid,
            "names that begin with %= are made by the bucket's mirror alone",
        ),
    };
    TreeError::new(kind, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for (status, code) in [
            (503, "SlowDown"),
            (500, ""),
            (409, "ConditionalRequestConflict"),
        ] {
            assert!(
                matches!(meaning(status, code).0, TreeErrorKind::Retry { .. }),
                "{status} {code}"
            );
        }
        for (status, code, kind) in [
            (400, "ExpiredToken", TreeErrorKind::Denied),
            (403, "RequestTimeTooSkewed", TreeErrorKind::Denied),
            (403, "AccessDenied", TreeErrorKind::Denied),
            (404, "NoSuchBucket", TreeErrorKind::Broken),
            (404, "NoSuchKey", TreeErrorKind::NoEntry),
            (412, "", TreeErrorKind::Conflict),
            (301, "", TreeErrorKind::Broken),
            (507, "", TreeErrorKind::Full),
        ] {
            assert_eq!(meaning(status, code).0, kind, "{status} {code}");
        }
    }
}
