//! JSON, without serde: every user of this library would compile it.

mod read;
mod write;

pub(crate) use read::Json;
pub(crate) use write::{Object, escaped, number_text, quoted_or_null};
