//! Tests with a network of their own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use kata_test::kata_test;

/// The interfaces in the network of this thread.
fn interfaces() -> Vec<String> {
    let list = fs::read_to_string("/proc/thread-self/net/dev").expect("a list");
    list.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

fn connect(address: &str) {
    let listener = TcpListener::bind(address).expect(address);
    TcpStream::connect(listener.local_addr().expect("an address")).expect(address);
}

#[kata_test(isolated_network, command = "ip")]
fn only_lo_and_what_it_creates() {
    assert_eq!(interfaces(), ["lo"]);
    connect("127.0.0.1:7000");
    connect("[::1]:7000");
    let added = Command::new("ip").args(["link", "add", "own0", "type", "veth", "peer", "own1"]).output();
    let added = added.expect("ip");
    assert!(added.status.success(), "{added:?}");
    assert_eq!(interfaces().len(), 3);
}

/// The same port, at the same time.
#[kata_test(isolated_network)]
fn a_port_is_its_own() {
    assert_eq!(interfaces(), ["lo"]);
    connect("127.0.0.1:7000");
}

/// It may not change the network that root created for it.
#[kata_test(non_root, isolated_network, command = "ip")]
fn without_privileges() {
    assert_eq!(interfaces(), ["lo"]);
    connect("127.0.0.1:7000");
    let added = Command::new("ip").args(["link", "add", "own0", "type", "veth"]).output();
    assert!(!added.expect("ip").status.success());
}

#[kata_test]
fn others_share_one() {
    let own = fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
    let parent = fs::read_link(format!("/proc/{}/ns/net", std::os::unix::process::parent_id()));
    assert_eq!(own, parent.expect("that of the harness"));
}

kata_test::main!();
