//! Uevents: a device was added, removed or changed.

/// The action of a uevent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The device was added; its attributes and its node exist.
    Add,
    /// The device was removed.
    Remove,
    /// Any other action, such as a change. The device exists.
    Other,
}

/// A uevent of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uevent<'a> {
    pub(crate) action: Action,
    /// The subsystem, such as `block`.
    pub(crate) subsystem: &'a str,
    /// The type within the subsystem: `disk` or `partition`.
    pub(crate) device_type: Option<&'a str>,
    /// The kernel's name of the device, such as `vda`.
    pub(crate) name: &'a str,
}

impl<'a> Uevent<'a> {
    /// Parses a message of the kernel: `ACTION@PATH`, then `KEY=VALUE` fields, each ended by a NUL. Returns
    /// `None` for other messages, such as those of udev.
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        let mut fields = message.split(|&byte| byte == 0);
        let (action, path) = str::from_utf8(fields.next()?).ok()?.split_once('@')?;
        let mut subsystem = None;
        let mut device_type = None;
        // Neither of the two fields has a value that is not UTF-8.
        for field in fields.filter_map(|field| str::from_utf8(field).ok()) {
            match field.split_once('=') {
                Some(("SUBSYSTEM", value)) => subsystem = Some(value),
                Some(("DEVTYPE", value)) => device_type = Some(value),
                _ => {}
            }
        }
        Some(Self {
            action: match action {
                "add" => Action::Add,
                "remove" => Action::Remove,
                _ => Action::Other,
            },
            subsystem: subsystem?,
            device_type,
            name: path.rsplit('/').next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VDA: &[u8] = b"add@/devices/pci0000:00/0000:00:03.0/virtio1/block/vda\0ACTION=add\0\
        DEVPATH=/devices/pci0000:00/0000:00:03.0/virtio1/block/vda\0SUBSYSTEM=block\0MAJOR=254\0\
        MINOR=0\0DEVNAME=vda\0DEVTYPE=disk\0DISKSEQ=9\0SEQNUM=812\0";

    #[test]
    fn an_added_disk() {
        let expected = Uevent {
            action: Action::Add,
            subsystem: "block",
            device_type: Some("disk"),
            name: "vda",
        };
        assert_eq!(Uevent::parse(VDA), Some(expected));
    }

    #[test]
    fn a_port_with_a_new_name() {
        let message = b"change@/devices/virtio0/virtio-ports/vport0p1\0SUBSYSTEM=virtio-ports\0";
        let event = Uevent::parse(message).unwrap();
        assert_eq!(
            (event.action, event.device_type, event.name),
            (Action::Other, None, "vport0p1")
        );
    }

    #[test]
    fn messages_of_udev_are_not_parsed() {
        assert_eq!(
            Uevent::parse(b"libudev\0\xfe\xed\xca\xfeSUBSYSTEM=block\0"),
            None
        );
    }

    #[test]
    fn a_field_that_is_not_utf8_does_not_hide_the_others() {
        let message = b"remove@/block/vdb\0WWN=\xff\xfe\0SUBSYSTEM=block\0";
        assert_eq!(Uevent::parse(message).unwrap().subsystem, "block");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Uevent::parse(&message);
        }

        /// A truncated message must not become one about another device.
        #[test]
        fn a_truncated_message_keeps_its_name_or_is_not_parsed(end in 0..VDA.len()) {
            if let Some(event) = Uevent::parse(&VDA[..end]) {
                prop_assert_eq!(event.name, "vda");
            }
        }
    }
}
