//! The machine type that hot-plugs nothing: the configuration refuses it, since QEMU would refuse
//! every attach.

use anyhow::{Context, Result, ensure};
use guest_vm::config;
use kata_test::kata_test;
use qmp_client::command::DeviceDel;

use serde_json::json;

use crate::bare::{AnyDeviceAdd, Bare, refusal};
use crate::fixture::soon;

#[kata_test(when = crate::fixture::qemu_and_guest)]
fn qemu_refuses_device_add_and_device_del() -> Result<()> {
    for machine in ["microvm", "microvm,pcie=on"] {
        let qemu = Bare::start(&[
            "-machine",
            machine,
            "-blockdev",
            "null-co,node-name=cold",
            "-blockdev",
            "null-co,node-name=hot",
            "-device",
            "virtio-blk-device,id=cold,drive=cold",
        ])?;
        let message = refusal(qemu.qmp.execute(&disk("virtio-blk-device"), soon()))?;
        ensure!(
            message.starts_with("Bus 'virtio-mmio-bus.")
                && message.ends_with("' does not support hotplugging"),
            "{machine}: {message}"
        );
        let message = refusal(qemu.qmp.execute(&disk("virtio-blk-pci"), soon()))?;
        let expected = match machine {
            "microvm" => "No 'PCI' bus found for device 'virtio-blk-pci'",
            _ => "Bus 'pcie.0' does not support hotplugging",
        };
        ensure!(message == expected, "{machine}: {message}");
        let message = refusal(qemu.qmp.execute(&DeviceDel { id: "cold" }, soon()))?;
        ensure!(
            message.starts_with("Bus 'virtio-mmio-bus.")
                && message.ends_with("' does not support hotplugging"),
            "{machine}: {message}"
        );
        qemu.quit()?;
    }
    Ok(())
}

fn disk(driver: &str) -> AnyDeviceAdd {
    AnyDeviceAdd(json!({"driver": driver, "id": "hot", "drive": "hot"}))
}

#[kata_test]
fn configuration_rejects_microvm() -> Result<()> {
    let text = "[hypervisor.qemu]\nmachine_type = \"microvm\"\n";
    let error = config::read(text).err().context("it was taken")?;
    let message = error.to_string();
    ensure!(
        message.contains("line 2: `machine_type` is \"microvm\", which has no hotplug"),
        "{message}"
    );
    Ok(())
}
