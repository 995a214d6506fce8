//! The kernel's announcements of devices.

#![no_main]

#[path = "../../../iothread-it/agent/src/uevent.rs"]
mod uevent;

use libfuzzer_sys::fuzz_target;
use uevent::{Action, Uevent};

fuzz_target!(|message: &[u8]| {
    let Some(event) = Uevent::parse(message) else {
        return;
    };
    assert!(!event.name.contains(['/', '\0']), "{event:?}");
    assert!(!event.subsystem.contains('\0'), "{event:?}");
    let action = match event.action {
        Action::Add => "add",
        Action::Remove => "remove",
        Action::Other => "change",
    };
    let device_type = event
        .device_type
        .map(|kind| format!("\0DEVTYPE={kind}"))
        .unwrap_or_default();
    let again = format!(
        "{action}@/x/{}\0SUBSYSTEM={}{device_type}\0",
        event.name, event.subsystem
    );
    assert_eq!(Uevent::parse(again.as_bytes()), Some(event));
});
