//! Tests as a VM manager has them: guests of KVM, and the devices beside it. Each device does what it is for.

use std::ffi::c_int;
use std::fs::File;
use std::io::{Error, Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::{fs, ptr, thread};

use kata_test::kata_test;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VcpuExit};

const PAGE: usize = 4096;

/// Maps memory. The test's process ends soon, so it stays mapped.
fn map(bytes: usize, flags: c_int) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
    let memory = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED, "{}", Error::last_os_error());
    memory.cast()
}

fn open(path: &str) -> File {
    let file = File::options().read(true).write(true).open(path);
    file.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Calls ioctl(2), with the address of a value as its argument.
fn ioctl<T>(file: &File, request: libc::Ioctl, value: &mut T) -> c_int {
    // SAFETY: each request below takes a value of its caller's type.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), request, ptr::from_mut(value)) };
    assert!(done >= 0, "{request:#x}: {}", Error::last_os_error());
    done
}

/// Runs a program in real mode to its first exit.
fn exit_of(code: &[u8]) -> String {
    let vm = Kvm::new().unwrap().create_vm().unwrap();
    let memory = map(PAGE, 0);
    // SAFETY: the code is shorter than the page.
    unsafe { memory.copy_from_nonoverlapping(code.as_ptr(), code.len()) };
    let region = kvm_userspace_memory_region {
        guest_phys_addr: 0x1000,
        memory_size: PAGE as u64,
        userspace_addr: memory as u64,
        ..kvm_userspace_memory_region::default()
    };
    // SAFETY: the memory stays mapped.
    unsafe { vm.set_user_memory_region(region) }.unwrap();
    let mut cpu = vm.create_vcpu(0).unwrap();
    let mut sregs = cpu.get_sregs().unwrap();
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    cpu.set_sregs(&sregs).unwrap();
    let mut regs = cpu.get_regs().unwrap();
    (regs.rip, regs.rflags) = (0x1000, 2);
    cpu.set_regs(&regs).unwrap();
    match cpu.run().unwrap() {
        VcpuExit::Hlt => "hlt".to_owned(),
        other => format!("{other:?}"),
    }
}

#[kata_test(kvm, timeout = "500ms")]
fn a_guest_never_ends() {
    // again: jmp again
    panic!("{}", exit_of(&[0xeb, 0xfe]));
}

#[kata_test(kvm, timeout = "500ms")]
fn no_guest_and_never_ends() {
    loop {
        thread::park();
    }
}

/// Its limit is short, and far longer in a slow place.
#[kata_test(kvm, timeout = "500ms")]
fn many_exits_in_a_short_time() {
    for _ in 0..100 {
        assert_eq!(exit_of(&[0xf4]), "hlt");
    }
}

/// A packet of the kernel's arrives at the program behind the interface.
#[kata_test(kvm, root, device = "/dev/net/tun")]
fn tun() {
    const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
    let mut device = open("/dev/net/tun");
    // SAFETY: all bytes of this structure may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..4].copy_from_slice(&[b't', b'u', b'n', b'7'].map(|byte| byte as _));
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as _;
    ioctl(&device, TUNSETIFF, &mut request);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // SAFETY: the descriptor is new, and this file is its only owner.
    let socket_file = unsafe { File::from_raw_fd(libc::dup(socket.as_raw_fd())) };
    // SAFETY: an address of IPv4 is one of any family.
    let address = |last| unsafe {
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        address.sin_family = libc::AF_INET as _;
        address.sin_addr.s_addr = u32::from_ne_bytes([10, 7, 0, last]);
        std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address)
    };
    request.ifr_ifru.ifru_addr = address(1);
    ioctl(&socket_file, libc::SIOCSIFADDR, &mut request);
    request.ifr_ifru.ifru_netmask = {
        let mut mask = address(0);
        mask.sa_data[2..6].copy_from_slice(&[-1, -1, -1, 0]);
        mask
    };
    ioctl(&socket_file, libc::SIOCSIFNETMASK, &mut request);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as _;
    ioctl(&socket_file, libc::SIOCSIFFLAGS, &mut request);
    let sender = UdpSocket::bind("10.7.0.1:0").unwrap();
    sender.send_to(b"through the tunnel", "10.7.0.2:9").unwrap();
    let mut packet = [0; 2048];
    loop {
        let length = device.read(&mut packet).unwrap();
        // Others are of IPv6: the interface looks for neighbours.
        if packet[0] >> 4 == 4 && packet[..length].ends_with(b"through the tunnel") {
            assert_eq!(packet[16..20], [10, 7, 0, 2]);
            return;
        }
    }
}

/// The worker thread of a vhost device exists once it has an owner.
fn own_vhost(path: &str) -> File {
    const VHOST_GET_FEATURES: libc::Ioctl = 0x8008_af00;
    const VHOST_SET_OWNER: libc::Ioctl = 0xaf01;
    const VIRTIO_F_VERSION_1: u64 = 1 << 32;
    let device = open(path);
    ioctl(&device, VHOST_SET_OWNER, &mut 0_u64);
    let mut features = 0_u64;
    ioctl(&device, VHOST_GET_FEATURES, &mut features);
    assert_ne!(features & VIRTIO_F_VERSION_1, 0, "{features:#x}");
    device
}

#[kata_test(kvm, non_root, device = "/dev/vhost-net")]
fn vhost_net() {
    own_vhost("/dev/vhost-net");
}

#[kata_test(kvm, non_root, device = "/dev/vhost-vsock")]
fn vhost_vsock() {
    const VHOST_VSOCK_SET_GUEST_CID: libc::Ioctl = 0x4008_af60;
    let device = own_vhost("/dev/vhost-vsock");
    ioctl(&device, VHOST_VSOCK_SET_GUEST_CID, &mut 42_u64);
    let other = own_vhost("/dev/vhost-vsock");
    let address = 42_u64;
    // SAFETY: the request takes the address of a number.
    let done = unsafe {
        libc::ioctl(
            other.as_raw_fd(),
            VHOST_VSOCK_SET_GUEST_CID,
            &raw const address,
        )
    };
    assert!(done < 0, "two guests have one address");
}

/// A page is missing when it is read, and the handler provides it.
#[kata_test(kvm, non_root)]
fn userfaultfd() {
    const UFFDIO_API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;
    const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;
    const UFFDIO_COPY: libc::Ioctl = 0xc028_aa03_u32 as libc::Ioctl;
    const MISSING: u64 = 1;
    let call = libc::SYS_userfaultfd;
    // SAFETY: the call takes flags, and this file owns what it returns.
    let mut handler = unsafe {
        let descriptor = libc::syscall(call, libc::O_CLOEXEC);
        assert!(descriptor >= 0, "{}", Error::last_os_error());
        File::from_raw_fd(descriptor as c_int)
    };
    ioctl(&handler, UFFDIO_API, &mut [0xaa_u64, 0, 0]);
    let memory = map(PAGE, 0);
    let start = memory as u64;
    ioctl(
        &handler,
        UFFDIO_REGISTER,
        &mut [start, PAGE as u64, MISSING, 0],
    );
    let address = memory as usize;
    // SAFETY: the page is mapped, and the handler fills it before the read ends.
    let reader = thread::spawn(move || unsafe { (address as *const u8).read_volatile() });
    let mut message = [0_u8; 32];
    handler.read_exact(&mut message).unwrap();
    assert_eq!(message[0], 0x12, "a page fault");
    let content = [0x5a_u8; PAGE];
    ioctl(
        &handler,
        UFFDIO_COPY,
        &mut [start, content.as_ptr() as u64, PAGE as u64, 0, 0],
    );
    assert_eq!(reader.join().unwrap(), 0x5a);
}

/// The memory of a guest is a huge page.
#[kata_test(kvm, non_root)]
fn huge_pages() {
    const HUGE: usize = 2 << 20;
    let free = || -> usize {
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("HugePages_Free:"));
        line.unwrap().trim().parse().unwrap()
    };
    let before = free();
    assert!(before >= 8, "{before}");
    let memory = map(4 * HUGE, libc::MAP_HUGETLB);
    for page in 0..4 {
        // SAFETY: the byte is in the mapping.
        unsafe { memory.add(page * HUGE).write_volatile(1) };
    }
    assert_eq!(free(), before - 4);
    let vm = Kvm::new().unwrap().create_vm().unwrap();
    let region = kvm_userspace_memory_region {
        memory_size: 4 * HUGE as u64,
        userspace_addr: memory as u64,
        ..kvm_userspace_memory_region::default()
    };
    // SAFETY: the memory stays mapped.
    unsafe { vm.set_user_memory_region(region) }.unwrap();
}

/// A network card belongs to a program, which maps memory for it and reads its configuration.
#[kata_test(kvm, root, module = "vfio_pci", module = "vfio_iommu_type1")]
fn vfio() {
    const VFIO_SET_IOMMU: libc::Ioctl = 0x3b66;
    const VFIO_GROUP_SET_CONTAINER: libc::Ioctl = 0x3b68;
    const VFIO_GROUP_GET_DEVICE_FD: libc::Ioctl = 0x3b6a;
    const VFIO_DEVICE_GET_REGION_INFO: libc::Ioctl = 0x3b6c;
    const VFIO_IOMMU_MAP_DMA: libc::Ioctl = 0x3b71;
    const TYPE1_V2: c_int = 3;
    const CONFIGURATION: u32 = 7;
    let card = fs::read_dir("/sys/bus/pci/devices")
        .unwrap()
        .find_map(|device| {
            let device = device.unwrap().path();
            let id = |file| fs::read_to_string(device.join(file)).unwrap();
            (id("vendor") + &id("device") == "0x8086\n0x10d3\n").then_some(device)
        });
    let card = card.expect("a network card");
    fs::write(card.join("driver_override"), "vfio-pci").unwrap();
    let name = card.file_name().unwrap().to_str().unwrap();
    fs::write("/sys/bus/pci/drivers_probe", name).unwrap();
    let group = fs::read_link(card.join("iommu_group")).expect("an IOMMU");
    let group = group.file_name().unwrap().to_str().unwrap();
    let container = open("/dev/vfio/vfio");
    let group = open(&format!("/dev/vfio/{group}"));
    ioctl(&group, VFIO_GROUP_SET_CONTAINER, &mut container.as_raw_fd());
    // SAFETY: the request takes a number.
    let done = unsafe { libc::ioctl(container.as_raw_fd(), VFIO_SET_IOMMU, TYPE1_V2) };
    assert_eq!(done, 0, "{}", Error::last_os_error());
    // Size and flags (read, write), then the memory, its address for the device, and its size.
    let mut mapping = [32 | 3 << 32, map(PAGE, 0) as u64, 0x10_0000, PAGE as u64];
    ioctl(&container, VFIO_IOMMU_MAP_DMA, &mut mapping);
    let mut name = format!("{name}\0").into_bytes();
    // SAFETY: the request takes the address of a C string.
    let device = unsafe {
        libc::ioctl(
            group.as_raw_fd(),
            VFIO_GROUP_GET_DEVICE_FD,
            name.as_mut_ptr(),
        )
    };
    assert!(device >= 0, "{}", Error::last_os_error());
    // SAFETY: the descriptor is new, and this file is its only owner.
    let device = unsafe { File::from_raw_fd(device) };
    // Size and flags, index and capabilities, the region's size, and its offset.
    let mut region = [32, u64::from(CONFIGURATION), 0, 0];
    ioctl(&device, VFIO_DEVICE_GET_REGION_INFO, &mut region);
    let mut ids = [0; 4];
    device.read_exact_at(&mut ids, region[3]).unwrap();
    assert_eq!(ids, [0x86, 0x80, 0xd3, 0x10]);
}

/// Much output, also to a file, while guests run: a VM once crashed at that.
#[kata_test(kvm, timeout = "2m")]
fn much_output_while_guests_run() {
    let path = std::env::temp_dir().join("much");
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..100).for_each(|_| assert_eq!(exit_of(&[0xf4]), "hlt")));
        }
        let mut file = File::create(&path).unwrap();
        for line in 0..4096 {
            file.write_all(&[b'x'; PAGE]).unwrap();
            if line % 64 == 0 {
                println!("{}", "y".repeat(1024));
            }
        }
    });
    assert_eq!(fs::metadata(path).unwrap().len(), 16 << 20);
}

kata_test::main!();
