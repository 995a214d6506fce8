//! What QEMU sends: messages out of a stream, and the version that it prints.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qmp_client::codec::{Message, parse};
use qmp_client::{Decoder, QemuVersion};
use serde_json::Value;

fuzz_target!(|stream: &[u8]| {
    let mut whole = Decoder::default();
    whole.feed(stream);
    let whole = messages(&mut whole);
    let mut decoder = Decoder::default();
    let mut pieces = Vec::new();
    for piece in stream.chunks(7) {
        decoder.feed(piece);
        pieces.extend(messages(&mut decoder));
    }
    assert_eq!(
        whole, pieces,
        "the messages depend on how the stream was cut"
    );
    assert_eq!(
        whole.len(),
        stream.iter().filter(|&&byte| byte == b'\n').count()
    );
    check(stream);
    if let Ok(printed) = std::str::from_utf8(stream)
        && let Some(version) = QemuVersion::parse(printed)
    {
        let again = QemuVersion::parse(&format!("QEMU emulator version {version}"));
        assert_eq!(again, Some(version));
    }
});

fn messages(decoder: &mut Decoder) -> Vec<Option<Message>> {
    std::iter::from_fn(|| decoder.next_message())
        .map(Result::ok)
        .collect()
}

fn check(line: &[u8]) {
    // serde does not check that members which it ignores are valid UTF-8.
    let (Ok(message), Ok(value)) = (parse(line), serde_json::from_slice::<Value>(line)) else {
        return;
    };
    match message {
        Message::Event(event) => assert_eq!(value["event"], event.name.as_str()),
        Message::Reply(reply) => {
            assert_eq!(value["id"], reply.id);
            match reply.result {
                Ok(returned) => assert_eq!(value["return"], returned),
                Err(error) => assert_eq!(value["error"]["desc"], error.desc.as_str()),
            }
        }
        Message::Error(error) => assert_eq!(value["error"]["class"], error.class.as_str()),
        Message::Greeting(_) => assert!(!value["QMP"].is_null()),
    }
}
