//! `who` on a QEMU that a user started: the processor runs a boot sector that reads every disk forever, so there
//! is no guest to prepare.

use std::fs;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guest_vm::artifacts::Manifest;
use guest_vm::process::OwnedProcess;
use iothread_advise::who::{Report, Server};
use kata_test::{Verdict, kata_test};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

kata_test::main!();

/// 16-bit code: `int 13h` reads the first sector of drives 80h to 83h in turn.
const READ_FOREVER: [u8; 30] = [
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0x8e, 0xc0, // mov es, ax
    0xb2, 0x80, // drives: mov dl, 80h
    0xb8, 0x01, 0x02, // next: mov ax, 0201h
    0xb9, 0x01, 0x00, // mov cx, 1
    0xb6, 0x00, // mov dh, 0
    0xbb, 0x00, 0x80, // mov bx, 8000h
    0xcd, 0x13, // int 13h
    0xfe, 0xc2, // inc dl
    0x80, 0xfa, 0x84, // cmp dl, 84h
    0x75, 0xec, // jne next
    0xeb, 0xe8, // jmp drives
];

/// A QEMU with four disks: on one thread or mapped to two, on one thread, in the main loop, and on a SCSI
/// controller with a thread.
struct Started {
    folder: tempfile::TempDir,
    process: OwnedProcess,
}

impl Started {
    fn new(qemu: &Manifest, maps: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut sector = vec![0_u8; 1 << 20];
        sector[..READ_FOREVER.len()].copy_from_slice(&READ_FOREVER);
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        let served = match maps {
            true => r#","iothread-vq-mapping":[{"iothread":"io0"},{"iothread":"io1"}]"#,
            false => r#","iothread":"io0""#,
        };
        let qemu = &qemu.qemu;
        let mut command = Command::new(&qemu.program);
        command.args(&qemu.prefix_args).envs(&qemu.env);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-machine", "q35,accel=tcg", "-m", "64"]);
        for thread in ["io0", "io1", "io2", "io3", "unused"] {
            command.args(["-object", &format!("iothread,id={thread}")]);
        }
        command.args(["-device", "virtio-scsi-pci,id=scsi0,iothread=io3"]);
        let devices = [
            ("boot", "virtio-blk-pci", served),
            ("single", "virtio-blk-pci", r#","iothread":"io2""#),
            ("plain", "virtio-blk-pci", ""),
            ("sd0", "scsi-hd", r#","bus":"scsi0.0""#),
        ];
        for (number, (disk, driver, more)) in devices.into_iter().enumerate() {
            let file = folder.path().join(disk);
            fs::write(&file, &sector)?;
            let file = file.display();
            let node = format!("raw,node-name={disk}-node,file.driver=file,file.filename={file}");
            let device = format!(
                r#"{{"driver":"{driver}","id":"{disk}","drive":"{disk}-node","bootindex":{number}{more}}}"#
            );
            command.args(["-blockdev", &node, "-device", &device]);
        }
        command.args(["-qmp", "unix:monitor,server=on,wait=off"]);
        command.current_dir(folder.path()).stdin(Stdio::null());
        let created = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        created.add_watch(folder.path(), AddWatchFlags::IN_CREATE)?;
        let process = OwnedProcess::spawn(command)?;
        let started = Self { folder, process };
        started.wait_for_monitor(&created)?;
        Ok(started)
    }

    fn wait_for_monitor(&self, created: &Inotify) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.folder.path().join("monitor").exists() {
            let left = end.saturating_duration_since(Instant::now());
            let mut waiting = [PollFd::new(created.as_fd(), PollFlags::POLLIN)];
            let events = poll(&mut waiting, PollTimeout::try_from(left)?)?;
            ensure!(
                events > 0,
                "QEMU opens no monitor: {}",
                self.process.stderr()
            );
            created.read_events()?;
        }
        Ok(())
    }

    /// Runs the program until the disks have I/O, which begins when the firmware has found them.
    fn report(&self) -> Result<Report> {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let out = self.who(&["--json"])?;
            let report: Report = serde_json::from_str(&out)?;
            if report.disks.iter().all(|disk| disk.operations_per_s > 0.0) {
                return Ok(report);
            }
            ensure!(Instant::now() < end, "no I/O: {out}");
        }
    }

    fn who(&self, arguments: &[&str]) -> Result<String> {
        who(self.process.id().pid(), arguments)
    }
}

fn who(pid: i32, arguments: &[&str]) -> Result<String> {
    let out = Command::new(env!("CARGO_BIN_EXE_iothread-advise"))
        .args(["who", &pid.to_string()])
        .args(arguments)
        .output()?;
    let error = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{error}");
    Ok(String::from_utf8(out.stdout)?)
}

fn has_qemu() -> Verdict {
    match Manifest::find() {
        Ok(manifest) => Verdict::met(format!("QEMU {}", manifest.qemu.version), "artifacts.json"),
        Err(error) => Verdict::unmet(error.to_string(), "artifacts.json"),
    }
}

/// `iothread-vq-mapping` works since QEMU 9.2.
fn maps_queues() -> Verdict {
    let version = Manifest::find()
        .ok()
        .and_then(|manifest| manifest.qemu.parsed_version());
    match version {
        Some(version) if (version.major, version.minor) >= (9, 2) => {
            Verdict::met(format!("QEMU {version}"), "artifacts.json")
        }
        Some(version) => Verdict::unmet(
            format!("QEMU {version} is older than 9.2"),
            "artifacts.json",
        ),
        None => has_qemu(),
    }
}

#[kata_test(when = has_qemu)]
fn a_single_and_an_unserved_disk() -> Result<()> {
    let report = observed(false)?;
    served_by(&report, "boot", &Server::Thread("io0".to_owned()))
}

#[kata_test(when = maps_queues)]
fn a_mapped_disk() -> Result<()> {
    let report = observed(true)?;
    let queues = ["io0", "io1"].map(|thread| (thread.to_owned(), None));
    served_by(&report, "boot", &Server::Queues(queues.to_vec()))
}

/// Observes a QEMU whose threads serve as they are configured to: the firmware uses one queue of the first disk,
/// which is that of the first thread.
fn observed(maps: bool) -> Result<Report> {
    let qemu = Started::new(&Manifest::find()?, maps)?;
    let report = qemu.report()?;
    served_by(&report, "single", &Server::Thread("io2".to_owned()))?;
    served_by(&report, "plain", &Server::MainLoop)?;
    served_by(&report, "sd0", &Server::Thread("io3".to_owned()))?;
    for disk in &report.disks {
        let file = qemu.folder.path().join(&disk.disk);
        assert_eq!(disk.file, file.to_string_lossy());
    }
    for (thread, works) in [
        ("io0", true),
        ("io1", false),
        ("io2", true),
        ("io3", true),
        ("unused", false),
    ] {
        let mut rows = report.threads.iter();
        let row = rows.find(|row| row.thread == thread).context(thread)?;
        assert_eq!(row.cpu > 0.001, works, "{thread}: {report:?}");
    }
    let text = qemu.who(&[])?;
    assert!(
        text.contains("no disk") && !text.contains("warning"),
        "{text}"
    );
    Ok(report)
}

fn served_by(report: &Report, id: &str, server: &Server) -> Result<()> {
    let mut disks = report.disks.iter();
    let disk = disks.find(|disk| disk.disk == id);
    let disk = disk.with_context(|| format!("no {id}: {report:?}"))?;
    assert_eq!(disk.served_by, *server, "{id}");
    Ok(())
}

#[kata_test(when = has_qemu)]
fn a_monitor_in_use_and_a_foreign_one_are_named() -> Result<()> {
    let manifest = Manifest::find()?;
    let [one, other] = [
        Started::new(&manifest, false)?,
        Started::new(&manifest, false)?,
    ];
    let socket = other.folder.path().join("monitor");
    let given = format!("--qmp={}", socket.display());
    let refused = |result: Result<String>| match result {
        Ok(text) => anyhow::bail!("not refused: {text}"),
        Err(error) => Ok(error.to_string()),
    };
    let foreign = refused(one.who(&[&given]))?;
    assert!(foreign.contains("is not a monitor of process"), "{foreign}");
    let _client = std::os::unix::net::UnixStream::connect(&socket)?;
    let busy = refused(other.who(&[]))?;
    assert!(busy.contains("serves one client at a time"), "{busy}");
    Ok(())
}

#[kata_test]
fn other_processes_are_refused() -> Result<()> {
    let refused = |pid| {
        who(pid, &[]).map_or_else(|error| error.to_string(), |text| format!("printed {text}"))
    };
    let own = i32::try_from(std::process::id())?;
    let text = refused(own);
    assert!(
        text.contains("has no QMP socket on its command line"),
        "{text}"
    );
    let text = refused(1 << 30);
    assert!(text.contains("Is it still running?"), "{text}");
    Ok(())
}
