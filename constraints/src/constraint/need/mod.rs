//! The needs that hold a value, a file a subject: what a text means, how it reads in a reason, and
//! what answers make of it.

pub(crate) mod tool;
