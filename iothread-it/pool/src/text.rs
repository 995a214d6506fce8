//! Texts of messages.

pub(super) fn queues_text(queues: usize) -> String {
    match queues {
        1 => "1 queue".into(),
        _ => format!("{queues} queues"),
    }
}

/// Joins names, or returns what stands for none.
pub(super) fn list<T: ToString>(names: impl IntoIterator<Item = T>, none: &str) -> String {
    let names: Vec<_> = names.into_iter().map(|name| name.to_string()).collect();
    match names.as_slice() {
        [] => none.to_owned(),
        names => names.join(", "),
    }
}
