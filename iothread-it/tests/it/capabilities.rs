//! QEMU's capabilities are queried, and what it cannot do is refused before a command is sent.

use anyhow::{Context, Result, ensure};
use guest_vm::artifacts::Manifest;
use kata_test::kata_test;
use qmp_client::Command;
use qmp_client::capabilities::CapabilityError;
use qmp_client::command::{QueryQmpSchema, XBlockdevSetIothread};
use qmp_client::{Capabilities, Driver, QemuVersion};
use serde::Serialize;
use serde::de::IgnoredAny;

use crate::bare::Bare;
use crate::fixture::soon;

/// A command that no QEMU has.
#[derive(Serialize)]
struct Fly {}

impl Command for Fly {
    const NAME: &'static str = "x-fly";
    type Return = IgnoredAny;
}

fn version() -> Result<QemuVersion> {
    let qemu = Manifest::find()?.qemu;
    qemu.parsed_version()
        .context("the manifest's QEMU has no version")
}

/// The schema is one line of some 250 kB.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn commands_are_in_the_schema_or_refused() -> Result<()> {
    let qemu = Bare::start(&["-machine", "q35"])?;
    let schema = qemu.qmp.execute(&QueryQmpSchema {}, soon())?;
    ensure!(schema.len() > 1000, "it has {} entries", schema.len());
    let mut capabilities = Capabilities::new(version()?);
    capabilities.command::<XBlockdevSetIothread<'_>>(&qemu.qmp, soon())?;
    let missing = capabilities.command::<Fly>(&qemu.qmp, soon());
    let message = missing.err().context("it can fly")?.to_string();
    ensure!(
        message == format!("QEMU {} has no command x-fly", version()?),
        "{message}"
    );
    qemu.quit()
}

/// A mapping of a disk's queues takes 9.2, of a controller's 10.0, and of a balloon's there is none.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn mappings_are_detected_by_version_and_property() -> Result<()> {
    let qemu = Bare::start(&["-machine", "q35"])?;
    let version = version()?;
    let mut capabilities = Capabilities::new(version);
    for driver in [Driver::VirtioBlk, Driver::VirtioScsi, Driver::VirtioBalloon] {
        capabilities.property(&qemu.qmp, driver, "iothread", soon())?;
        let oldest = driver.maps_queues_since();
        let can = oldest.is_some_and(|oldest| version >= oldest);
        match capabilities.mapping(&qemu.qmp, driver, soon()) {
            Ok(()) => ensure!(can, "{driver} of {version} maps queues"),
            Err(CapabilityError::Unsupported(missing)) => ensure!(!can, "{missing}"),
            Err(CapabilityError::Qmp(error)) => return Err(error.into()),
        }
        // By the property alone: what QEMU lists agrees with the table of versions.
        let listed = capabilities.property(&qemu.qmp, driver, "iothread-vq-mapping", soon());
        ensure!(listed.is_ok() == can, "{driver} of {version}: {listed:?}");
    }
    qemu.quit()
}
