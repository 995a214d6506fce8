//! The driver's [`Vm`] over the client of the crate qapi.
//!
//! qapi has a type for each command of the QEMU that its schema is from. iothread-hotplug makes commands with
//! arguments that newer versions have, so each gets a newtype of its arguments.
//!
//! qapi ends a connection if the future of a command is dropped before its reply, and if an event is not in
//! its schema. The driver drops no such future, and goes on with another connection.

use std::future::{Future, ready};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use iothread_hotplug::tokio::{Incoming, Vm};
use iothread_hotplug::{Answer, GuestDisk, Presence, Saved};
use qapi::futures::{QapiEvents, QapiService, QmpStreamTokio};
use qapi::{ExecuteError, qmp};
use qmp_client::{Event, QmpError, Request};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::outside::Outside;
use crate::state_file::StateFile;

/// How long QEMU may take to greet a client.
const CONNECT: Duration = Duration::from_secs(10);

type Service = QapiService<QmpStreamTokio<WriteHalf<UnixStream>>>;

/// A connection to QEMU, the agent and the state file.
pub(crate) struct QapiVm {
    socket: PathBuf,
    service: Service,
    events: QapiEvents<QmpStreamTokio<ReadHalf<UnixStream>>>,
    outside: Outside,
    state: StateFile,
}

impl QapiVm {
    pub(crate) async fn connect(socket: &Path, outside: Outside, state: StateFile) -> Result<Self> {
        let (service, events) = connect(socket).await?;
        Ok(Self {
            socket: socket.to_owned(),
            service,
            events,
            outside,
            state,
        })
    }

    pub(crate) async fn reconnect(&mut self) -> Result<()> {
        (self.service, self.events) = connect(&self.socket).await?;
        Ok(())
    }
}

type Connection = (Service, QapiEvents<QmpStreamTokio<ReadHalf<UnixStream>>>);

async fn connect(socket: &Path) -> Result<Connection> {
    let why = || format!("cannot connect to QEMU at {}", socket.display());
    let connect = async {
        loop {
            let stream = QmpStreamTokio::open_uds(socket).await?;
            let (service, mut events) = stream.negotiate().await?.into_parts();
            // Replies are read as a part of the events. Those are lost here, as others were before.
            let reads = async { while events.next().await.is_some_and(|event| event.is_ok()) {} };
            let is_in_step = tokio::select! {
                is_in_step = is_in_step(&service) => is_in_step?,
                () = reads => false,
            };
            if is_in_step {
                return anyhow::Ok((service, events));
            }
        }
    };
    timeout(CONNECT, connect)
        .await
        .with_context(why)?
        .with_context(why)
}

/// Returns whether a reply is the one to its command. QEMU may send a new client the reply to the command that
/// was running when the client before it was killed, and qapi numbers no commands. That reply comes first, so
/// one command whose reply no other has tells.
async fn is_in_step(service: &Service) -> Result<bool> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let path = format!("/step-{}-{}", std::process::id(), now.as_nanos());
    let refused = service.execute(QomList(json!({"path": path}))).await;
    Ok(matches!(refused, Err(ExecuteError::Qapi(error)) if error.desc.contains(&path)))
}

impl Vm for QapiVm {
    fn send(
        &mut self,
        command: Request,
    ) -> impl Future<Output = Result<Value, QmpError>> + Send + use<> + 'static {
        let name = command.name();
        let reply = execute(&self.service, &command);
        async move {
            reply.await.map_err(|error| match error {
                ExecuteError::Qapi(error) => QmpError::Refused {
                    command: name,
                    class: format!("{:?}", error.class),
                    desc: error.desc,
                },
                ExecuteError::Io(error) => QmpError::Closed {
                    awaited: format!("the reply to {name}"),
                    why: error.to_string(),
                },
            })
        }
    }

    async fn next_event(&mut self) -> Incoming {
        match self.events.next().await {
            Some(Ok(event)) => {
                let event = json!(event);
                Incoming::Event(Event {
                    name: event["event"].as_str().unwrap_or_default().to_owned(),
                    data: event["data"].clone(),
                    timestamp_us: None,
                    received_us: None,
                })
            }
            Some(Err(error)) => Incoming::Closed(error.to_string()),
            None => Incoming::Closed("QEMU has closed it".into()),
        }
    }

    fn look(
        &mut self,
        disk: GuestDisk,
        awaited: Presence,
    ) -> impl Future<Output = Answer> + Send + use<> + 'static {
        self.outside.look(&disk, awaited)
    }

    async fn save(&mut self, state: Saved) -> std::io::Result<()> {
        self.state.write(&state)
    }
}

macro_rules! commands {
    ($($type:ident $name:literal)*) => {
        $(
            #[derive(Serialize)]
            #[serde(transparent)]
            struct $type(Value);

            impl qapi::Command for $type {
                type Ok = Value;
                const NAME: &'static str = $name;
                const ALLOW_OOB: bool = false;
            }

            impl qmp::QmpCommand for $type {}
        )*

        fn execute(
            service: &Service,
            command: &Request,
        ) -> Pin<Box<dyn Future<Output = Result<Value, ExecuteError>> + Send>> {
            let arguments = command.arguments().clone();
            match command.name() {
                $($name => Box::pin(service.execute($type(arguments))),)*
                other => {
                    let why = format!("{other} has no newtype");
                    Box::pin(ready(Err(std::io::Error::other(why).into())))
                }
            }
        }
    };
}

commands! {
    BlockdevAdd "blockdev-add"
    BlockdevDel "blockdev-del"
    DeviceAdd "device_add"
    DeviceDel "device_del"
    DeviceListProperties "device-list-properties"
    ObjectAdd "object-add"
    ObjectDel "object-del"
    QomGet "qom-get"
    QomList "qom-list"
    QueryBlock "query-block"
    QueryBlockExports "query-block-exports"
    QueryIothreads "query-iothreads"
    QueryNamedBlockNodes "query-named-block-nodes"
}
