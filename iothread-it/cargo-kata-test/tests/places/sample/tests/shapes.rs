//! Tests that need a VM of a certain size, a kernel argument, cgroup v1, or a network. Each looks whether it has that.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kata_test::kata_test;

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn run(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).output().expect(program);
    assert!(ran.status.success(), "{program} {arguments:?}: {ran:?}");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// The number behind a name, in KiB.
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.split_once(name)).expect(name).1;
    line.split_whitespace().next().expect("a number").parse().expect("digits")
}

fn interfaces() -> Vec<String> {
    let names = fs::read_dir("/sys/class/net").expect("interfaces");
    let mut names: Vec<_> =
        names.map(|one| one.expect("one").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[kata_test(cpus_ge = 8)]
fn eight_cpus() {
    assert!(std::thread::available_parallelism().expect("a number").get() >= 8);
}

#[kata_test(mem_available_ge = "6GiB")]
fn six_gib() {
    assert!(kib(&read("/proc/meminfo"), "MemAvailable:") >= 6 << 20);
}

#[kata_test(numa_nodes_ge = 2)]
fn two_nodes() {
    for node in ["node0", "node1"] {
        let folder = Path::new("/sys/devices/system/node").join(node);
        assert!(kib(&read(folder.join("meminfo")), "MemTotal:") > 100 << 10);
        assert!(read(folder.join("cpulist")).starts_with(|c: char| c.is_ascii_digit()));
    }
}

/// More than the usual VM has.
#[kata_test(disk_free_ge = "700MiB")]
fn a_large_file() {
    let path = std::env::temp_dir().join("large");
    let mut file = fs::File::create(&path).expect("a file");
    let bytes = vec![1; 1 << 20];
    for _ in 0..700 {
        file.write_all(&bytes).expect("room");
    }
    fs::remove_file(path).expect("to remove it");
}

#[kata_test(kernel_arg = "nosmt", kernel_arg = "kata=a,b")]
fn a_kernel_argument() {
    let line = read("/proc/cmdline");
    assert!(line.split_whitespace().any(|word| word == "nosmt"), "{line}");
    assert!(line.split_whitespace().any(|word| word == "kata=a,b"), "{line}");
}

#[kata_test(root, cgroup = "v1", cgroup_controller = "memory")]
fn cgroup_v1_limits_memory() {
    let group = Path::new("/sys/fs/cgroup/memory/shapes");
    fs::create_dir(group).expect("a cgroup");
    fs::write(group.join("memory.limit_in_bytes"), "16777216").expect("a limit");
    assert_eq!(read(group.join("memory.limit_in_bytes")).trim(), "16777216");
    fs::remove_dir(group).expect("to remove it");
}

#[kata_test(root)]
fn leaves_a_file() {
    let folder = std::env::var("KATA_TEST_ARTIFACTS").expect("a folder");
    fs::write(Path::new(&folder).join("left"), "of a test").expect("a file");
}

#[kata_test(root)]
fn loopback() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).expect(address);
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).expect(address);
        let (mut server, _) = listener.accept().expect("a connection");
        client.write_all(b"x").expect("to send");
        server.read_exact(&mut [0]).expect("to receive");
    }
}

#[kata_test(root, command = "ip")]
fn ip_adds_a_link() {
    run("ip", &["link", "add", "shapes0", "type", "dummy"]);
    assert!(interfaces().contains(&"shapes0".to_owned()));
    run("ip", &["link", "del", "shapes0"]);
}

#[kata_test(root, command = "nft")]
fn nft_adds_a_table() {
    run("nft", &["add", "table", "inet", "shapes"]);
    assert!(run("nft", &["list", "tables"]).contains("inet shapes"));
    run("nft", &["delete", "table", "inet", "shapes"]);
}

/// The host listens on its loopback, at the port that the variable names.
#[kata_test(network = "user")]
fn a_network_reaches_the_host() {
    let is_vm = std::env::var("KATA_TEST_PLACE").is_ok_and(|place| place.starts_with("vm:"));
    let host = if is_vm { "10.0.2.2" } else { "127.0.0.1" };
    let port: u16 = std::env::var("PLACES_SHAPES_PORT").expect("a port").parse().expect("digits");
    let mut stream = TcpStream::connect((host, port)).expect("the host");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    stream.write_all(b"ping").expect("to send");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("to receive");
    assert_eq!(&answer, b"pong");
    assert!(!is_vm || read("/etc/resolv.conf") == "nameserver 10.0.2.3\n");
}

#[kata_test(root, not(network = "user"))]
fn nobody_else_has_a_network() {
    // The module of the test with `ip` makes an interface of its own.
    let known = |name: &String| ["lo", "dummy0"].contains(&name.as_str());
    let all = interfaces();
    assert!(all.iter().all(known), "{all:?}");
}

#[kata_test(mem_available_ge = "900TiB")]
fn too_much_memory() {}

kata_test::main!();
