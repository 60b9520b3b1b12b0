//! How much is logged, and in which form: the choices that both daemons have.
//! Never here: logging itself.

use crate::value::words;

words! {
    /// Form of the log.
    LogFormat {
        /// For people.
        Human = "human",
        /// One object a line, for machines.
        Json = "json",
    }
}

words! {
    /// The least serious event that is logged.
    LogLevel {
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }
}
