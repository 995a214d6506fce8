//! One line of QMP, sorted by what it is.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::Value;

use super::events::Event;

/// A line that QEMU sends.
#[derive(Debug)]
pub(super) enum Line {
    Greeting,
    Reply {
        id: u64,
        outcome: Outcome,
    },
    Event(Event),
    /// Something that this client does not wait for, such as an error without an id.
    Other,
}

/// How a command ended.
pub(super) type Outcome = Result<Value, Refusal>;

/// QEMU's error object. `class` is no enum: a new class must not break the client.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) class: String,
    pub(super) desc: String,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    event: Option<String>,
    data: Option<Value>,
    timestamp: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    r#return: Option<Value>,
    error: Option<Refusal>,
    id: Option<u64>,
}

#[derive(Deserialize)]
struct Timestamp {
    seconds: i64,
    microseconds: i64,
}

fn now_us() -> Option<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(now.as_micros()).ok()
}

/// A member that is there, even as `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Reads a line.
pub(super) fn parse(line: &[u8]) -> Result<Line, serde_json::Error> {
    let raw: Raw = serde_json::from_slice(line)?;
    Ok(match raw {
        Raw {
            greeting: Some(_), ..
        } => Line::Greeting,
        Raw {
            event: Some(name),
            data,
            timestamp,
            ..
        } => Line::Event(Event {
            name,
            data: data.unwrap_or(Value::Null),
            // QEMU writes -1 for both where its clock failed.
            timestamp_us: timestamp.map(|t| {
                t.seconds
                    .saturating_mul(1_000_000)
                    .saturating_add(t.microseconds)
            }),
            received_us: now_us(),
        }),
        Raw {
            id: Some(id),
            error: Some(refusal),
            ..
        } => Line::Reply {
            id,
            outcome: Err(refusal),
        },
        Raw {
            id: Some(id),
            r#return: Some(value),
            ..
        } => Line::Reply {
            id,
            outcome: Ok(value),
        },
        _ => Line::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn replies_events_and_the_greeting_are_distinguished() {
        let line = br#"{"QMP":{"version":{"qemu":{"micro":22}},"capabilities":["oob"]}}"#;
        assert!(matches!(parse(line).unwrap(), Line::Greeting));
        assert!(matches!(
            parse(br#"{"return": null, "id": 4}"#).unwrap(),
            Line::Reply {
                id: 4,
                outcome: Ok(Value::Null)
            }
        ));
        let Line::Reply {
            id: 5,
            outcome: Err(refusal),
        } = parse(br#"{"error":{"class":"New","desc":"d","hint":1},"id":5}"#).unwrap()
        else {
            panic!("not a refusal")
        };
        assert_eq!(
            (refusal.class.as_str(), refusal.desc.as_str()),
            ("New", "d")
        );
        let Line::Event(event) = parse(
            br#"{"event":"X","data":{"device":"d"},"timestamp":{"seconds":2,"microseconds":3}}"#,
        )
        .unwrap() else {
            panic!("not an event")
        };
        assert_eq!(
            (event.name.as_str(), event.timestamp_us),
            ("X", Some(2_000_003))
        );
    }

    #[test]
    fn error_without_an_id_is_ignored() {
        let line = br#"{"error":{"class":"GenericError","desc":"JSON parse error"}}"#;
        assert!(matches!(parse(line).unwrap(), Line::Other));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }
    }
}
