//! The two files of a template: written once, and looked at closely before every use.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::SystemTime;

use guest_agent::protocol::Greeting;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::key::{self, Key};
use crate::artifacts::{FileState, hex};
use crate::qemu::{DraftRam, TemplateRam, open_regular};

/// The form of the header.
const SCHEMA: u32 = 1;

/// What a guest said and was when it was stopped.
#[derive(Debug)]
pub(crate) struct Saved {
    /// Its agent's greeting. A clone has this boot ID until it is reseeded.
    pub(crate) greeting: Greeting,
    /// The state of its devices, as QEMU wrote it.
    pub(crate) devices: Vec<u8>,
}

/// What a guest can be restored from, however many times.
///
/// The files are open, so that they stay as they are while somebody else makes or removes others.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) ram: TemplateRam,
    pub(crate) saved: Saved,
}

/// The first line of the state file. What follows is the state of the devices.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    schema: u32,
    key: Key,
    greeting: Greeting,
    /// The memory, as it was when the template was made.
    ram: FileState,
    devices_size: usize,
    devices_sha256: String,
}

/// Why what lies there is no template of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing lies there.
    Absent,
    /// Something does, and is not what was put there.
    Damaged(&'static str),
}

/// A template that is being made, in a folder of its own.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    folder: &'a Path,
    ram: DraftRam,
}

impl<'a> Draft<'a> {
    /// Makes memory of so many bytes.
    pub(super) fn new(folder: &'a Path, ram_size: u64) -> io::Result<Self> {
        let ram = DraftRam::create(&folder.join("ram"), ram_size)?;
        Ok(Self { folder, ram })
    }

    pub(super) fn ram(&self) -> &DraftRam {
        &self.ram
    }

    /// Puts both files where they are found. The guest that wrote the memory must have ended.
    pub(super) fn commit(self, store: &Path, key: &Key, saved: &Saved) -> io::Result<()> {
        self.ram.sync()?;
        // Nobody can write to it from here on.
        drop(self.ram);
        let ram = key::file(store, key, "ram");
        fs::rename(self.folder.join("ram"), &ram)?;
        let header = Header {
            schema: SCHEMA,
            key: key.clone(),
            greeting: saved.greeting.clone(),
            ram: FileState::of(&ram)?,
            devices_size: saved.devices.len(),
            devices_sha256: hex(&Sha256::digest(&saved.devices)),
        };
        let draft = self.folder.join("state");
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        serde_json::to_writer(&mut file, &header)?;
        file.write_all(b"\n")?;
        file.write_all(&saved.devices)?;
        file.sync_all()?;
        fs::rename(draft, key::file(store, key, "state"))
    }
}

/// Opens the template of a key, if it is whole, ours, and of this key. Notes that it was used.
pub(super) fn open(store: &Path, key: &Key) -> Result<Template, Refusal> {
    let path = key::file(store, key, "state");
    let mut file = open_ours(&path, open_regular)?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)
        .map_err(|_| Refusal::Damaged("it cannot be read"))?;
    let end = content.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or(Refusal::Damaged("it has no header"))?;
    let header: Header = serde_json::from_slice(&content[..end])
        .map_err(|_| Refusal::Damaged("its header is of another form"))?;
    content.drain(..=end);
    header.check(key, &content).map_err(Refusal::Damaged)?;
    let path = key::file(store, key, "ram");
    let ram = open_ours(&path, TemplateRam::open)?;
    // Of the path first and of the open file then, so that both are the file that was saved.
    let known = |file: &TemplateRam| FileState::of_open(&path, file.file());
    if !header.ram.still_holds() || known(&ram).ok().as_ref() != Some(&header.ram) {
        return Err(Refusal::Damaged("its memory is not as it was saved"));
    }
    // What was used longest ago is removed first. A wrong order does no harm.
    let _ = file.set_modified(SystemTime::now());
    Ok(Template {
        ram,
        saved: Saved {
            greeting: header.greeting,
            devices: content,
        },
    })
}

impl Header {
    fn check(&self, key: &Key, devices: &[u8]) -> Result<(), &'static str> {
        if self.schema != SCHEMA {
            return Err("its header is of another version");
        }
        if self.key != *key {
            return Err("it is of another key");
        }
        if self.devices_size != devices.len() {
            return Err("it is cut");
        }
        if self.devices_sha256 != hex(&Sha256::digest(devices)) {
            return Err("it was changed");
        }
        Ok(())
    }
}

/// Opens a file that nobody else could have written.
fn open_ours<T: AsFile>(path: &Path, open: fn(&Path) -> io::Result<T>) -> Result<T, Refusal> {
    let file = open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Refusal::Absent,
        _ => Refusal::Damaged("it cannot be opened"),
    })?;
    let data = file.as_file().metadata();
    match data {
        Ok(data) if data.is_file() && is_ours(&data) => Ok(file),
        _ => Err(Refusal::Damaged("it belongs to another user")),
    }
}

/// Whether this user made it and no other can write to it.
pub(super) fn is_ours(data: &fs::Metadata) -> bool {
    data.uid() == rustix::process::geteuid().as_raw() && data.mode() & 0o022 == 0
}

trait AsFile {
    fn as_file(&self) -> &File;
}

impl AsFile for File {
    fn as_file(&self) -> &File {
        self
    }
}

impl AsFile for TemplateRam {
    fn as_file(&self) -> &File {
        self.file()
    }
}
