//! **Scope**: what a caller reads of devices that are there from the start. The suite starts QEMU with them.

use super::*;
use crate::ColdPlugged;

#[test]
fn arguments_are_a_node_and_its_device() {
    let pool = || Pool::new(vec![IoThreadId::indep(0)], SlotTable::root_ports(1)).unwrap();
    let mut cold = ColdPlugged::default();
    assert!(cold.is_empty() && cold.arguments().is_empty());
    let disk = DiskSpec::new(DeviceId::new("disk0").unwrap(), "/disk");
    let lease = cold.plug(pool(), &options(), &disk, &Placement::First);
    assert!(lease.is_ok() && !cold.is_empty());
    let arguments: Vec<_> = cold
        .arguments()
        .iter()
        .map(|one| one.to_str().unwrap())
        .collect();
    let [node, node_value, device, device_value] = arguments[..] else {
        panic!("{arguments:?}");
    };
    assert_eq!([node, device], ["-blockdev", "-device"]);
    assert!(
        node_value.contains(r#""node-name":"disk0""#),
        "{node_value}"
    );
    assert!(device_value.contains(r#""id":"disk0""#), "{device_value}");
}
