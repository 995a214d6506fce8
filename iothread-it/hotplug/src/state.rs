//! What QEMU has, as far as is known.

use iothread_pool::DeviceId;
use qmp_client::Event;
use serde_json::Value;

/// State of a disk in QEMU: an upper bound. QEMU has less only after a lost reply or before an event
/// is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum DiskState {
    /// A block node without a device.
    NodeOnly,
    /// A device on its block node.
    Attached,
    /// Attached, with an unplug requested. DEVICE_DELETED may arrive at any time:
    /// [`settle`](crate::Hotplug::settle) and [`detach`](crate::Hotplug::detach) continue the removal.
    RemovalPending,
}

impl DiskState {
    /// Returns whether a device is a part of it.
    pub(crate) fn has_device(self) -> bool {
        match self {
            Self::NodeOnly => false,
            Self::Attached | Self::RemovalPending => true,
        }
    }
}

/// What became of a device, in the order of what counts more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub(crate) enum News {
    /// DEVICE_UNPLUG_GUEST_ERROR.
    Rejected,
    /// QEMU lists it no more. It may still use its node.
    Unlisted,
    /// DEVICE_DELETED.
    Deleted,
}

impl News {
    /// QEMU sends two DEVICE_DELETED for a PCI device: the first, of the device's child, carries a
    /// path only.
    pub(crate) fn of(event: &Event) -> Option<(&str, Self)> {
        let news = match event.name.as_str() {
            "DEVICE_DELETED" => Self::Deleted,
            "DEVICE_UNPLUG_GUEST_ERROR" => Self::Rejected,
            _ => return None,
        };
        Some((event.str("device")?, news))
    }

    /// Returns whether QEMU has the device no more.
    pub(crate) fn is_gone(self) -> bool {
        self > Self::Rejected
    }
}

/// A device that QEMU has something of, with what it was made from.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(rename_all = "kebab-case", deny_unknown_fields)
)]
pub(crate) struct Device {
    pub(crate) state: DiskState,
    /// The arguments of `blockdev-add`. A controller and a balloon have no node.
    pub(crate) node: Option<Value>,
    /// The arguments of `device_add`.
    pub(crate) device: Value,
    /// Whether DEVICE_DELETED is about this device: QEMU's reply to `device_add` was read, and no earlier device with
    /// this id was closed before its event came. Else QEMU's list decides.
    pub(crate) confirmed: bool,
    /// What has come of it since the newest `device_add` or `device_del`.
    pub(crate) news: Option<News>,
    /// When it was made: a list that QEMU was asked for earlier does not have it yet.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) since: u64,
    /// Whether events may have been missed, so that QEMU's list is needed.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) unsure: bool,
}

impl Device {
    pub(crate) fn new(state: DiskState, node: Option<Value>, device: Value, since: u64) -> Self {
        Self {
            state,
            node,
            device,
            confirmed: false,
            news: None,
            since,
            unsure: false,
        }
    }

    /// Keeps what counts more.
    pub(crate) fn note(&mut self, news: News) {
        self.news = self.news.max(Some(news));
    }

    /// Keeps what an event reports, or has QEMU's list read if the event may be about an earlier device.
    pub(crate) fn note_event(&mut self, news: News) {
        let may_be_late = news == News::Deleted && !self.confirmed && self.state.has_device();
        match may_be_late {
            true => self.unsure = true,
            false => self.note(news),
        }
    }

    /// Keeps whether QEMU lists it.
    pub(crate) fn note_listed(&mut self, is_listed: bool) {
        if !is_listed {
            self.note(News::Unlisted);
        }
    }

    /// Keeps that QEMU has the device no more, if it had one.
    pub(crate) fn note_gone(&mut self) {
        self.note_listed(!self.state.has_device());
    }

    /// Returns whether QEMU has the device no more.
    pub(crate) fn is_gone(&self) -> bool {
        self.news.is_some_and(News::is_gone)
    }
}

/// A block node that the guest does not see.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(rename_all = "kebab-case", deny_unknown_fields)
)]
pub(crate) struct Node {
    pub(crate) state: NodeState,
    /// The arguments of `blockdev-add`.
    pub(crate) node: Value,
    /// The arguments of `block-export-add`.
    pub(crate) export: Option<Value>,
    /// As for a [`Device`].
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) since: u64,
    /// Whether BLOCK_EXPORT_DELETED has come since the newest `block-export-del`.
    pub(crate) export_deleted: bool,
    /// Whether that event may have been missed.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) unsure: bool,
}

/// What QEMU has of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub(crate) enum NodeState {
    /// The node alone.
    Bare,
    /// An export of it.
    Exported,
}

/// Who an operation is for. One at a time has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Device(DeviceId),
    Thread(iothread_pool::IoThreadId),
}
