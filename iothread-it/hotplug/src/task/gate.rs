//! What an operation needs of this QEMU, queried once.

use iothread_pool::Placement;
use qmp_client::command::{
    BlockExportAdd, DeviceListProperties, QueryQmpSchema, XBlockdevSetIothread,
};
use qmp_client::{Driver, QmpError};
use serde_json::Value;

use crate::context::{Context, Core, Input, Progress};
use crate::error::StepError;
use crate::wire::read_reply;

/// A capability.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gate {
    /// None is needed.
    Open,
    /// The queues of such a device can be mapped to threads.
    Mapping(Driver),
    /// The command that moves a node.
    SetIothread,
    /// The command that exports a node.
    Export,
}

impl Gate {
    /// Returns what a placement needs for a kind of device.
    pub(crate) fn of(driver: Driver, placement: &Placement) -> Self {
        match placement {
            Placement::Spread(_) | Placement::Mapped(_) => Self::Mapping(driver),
            _ => Self::Open,
        }
    }

    pub(crate) fn step(
        self,
        cx: &mut Context<'_>,
        input: Input,
    ) -> Progress<Result<(), StepError>> {
        if let Input::Reply(reply) = input
            && let Err(error) = self.learn(cx.core, reply)
        {
            return Progress::Done(Err(error.into()));
        }
        let known = &cx.core.capabilities;
        let known = match self {
            Self::Open => Some(Ok(())),
            Self::Mapping(driver) => known.maps_queues(driver),
            Self::SetIothread => known.has_command::<XBlockdevSetIothread<'_>>(),
            Self::Export => known.has_command::<BlockExportAdd<'_>>(),
        };
        match (known, self) {
            (Some(known), _) => Progress::Done(known.map_err(StepError::from)),
            (None, Self::Mapping(driver)) => cx.send(&DeviceListProperties {
                typename: driver.as_str(),
            }),
            (None, _) => cx.send(&QueryQmpSchema {}),
        }
    }

    fn learn(self, core: &mut Core, reply: Result<Value, QmpError>) -> Result<(), QmpError> {
        match self {
            Self::Open => Ok(()),
            Self::Mapping(driver) => {
                let properties = match reply.and_then(read_reply::<DeviceListProperties<'_>>) {
                    Ok(properties) => Some(properties),
                    Err(error) if error.class() == Some("DeviceNotFound") => None,
                    Err(error) => return Err(error),
                };
                core.capabilities.note_properties(driver, properties);
                Ok(())
            }
            Self::SetIothread | Self::Export => {
                let schema = reply.and_then(read_reply::<QueryQmpSchema>)?;
                core.capabilities.note_schema(schema);
                Ok(())
            }
        }
    }
}
