//! Messages between the processes of a test binary.

#![no_main]

use kata_test_host::sys::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(messages) = Message::decode_all(bytes) {
        let encoded: String = messages.iter().map(Message::encode).collect();
        assert_eq!(
            Message::decode_all(encoded.as_bytes()),
            Some(messages.clone())
        );
        for message in messages {
            if let Some(reason) = message.reason() {
                let again = Message::with_reason(&message.kind, &reason);
                assert_eq!(again.reason(), Some(reason));
            }
            let is_ours = message.kind.len() < 100;
            let line = message.encode_within(512);
            assert!(line.len() <= 512 || !is_ours, "{line}");
        }
    }
});
