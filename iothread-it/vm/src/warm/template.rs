//! The two files of a template: written once, and checked before each use.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::SystemTime;

use guest_agent::protocol::Greeting;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::key::{self, TemplateKey};
use crate::artifacts::{FileState, hex};
use crate::qemu::{DraftRam, TemplateRam, open_regular};

/// Version of the header.
const SCHEMA: u32 = 1;

/// The state of a guest when it was saved.
#[derive(Debug)]
pub(crate) struct SavedState {
    /// The greeting of its agent.
    pub(crate) greeting: Greeting,
    /// The migration stream with the state of the devices.
    pub(crate) devices: Vec<u8>,
}

/// A saved guest. Any number of clones can be restored from it.
///
/// The files are open, so they stay valid if another process removes or replaces the template.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) ram: TemplateRam,
    pub(crate) saved: SavedState,
}

/// The first line of the state file, followed by the state of the devices.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    schema: u32,
    key: TemplateKey,
    greeting: Greeting,
    /// The state of the memory file when the template was made.
    ram: FileState,
    /// The same of those of further NUMA nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    more_ram: Vec<FileState>,
    devices_size: usize,
    devices_sha256: String,
}

/// Why there is no usable template.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// A file is missing.
    Absent,
    /// A file is not the one that was written.
    Damaged(&'static str),
}

/// An unfinished template in a folder of its own.
#[derive(Debug)]
pub(super) struct TemplateDraft<'a> {
    folder: &'a Path,
    kinds: Vec<String>,
    ram: DraftRam,
}

impl<'a> TemplateDraft<'a> {
    /// Makes the memory files with these sizes in bytes.
    pub(super) fn new(folder: &'a Path, ram_sizes: &[u64]) -> io::Result<Self> {
        let kinds: Vec<String> = key::ram_kinds().take(ram_sizes.len()).collect();
        let paths: Vec<_> = kinds.iter().map(|kind| folder.join(kind)).collect();
        let ram = DraftRam::create(&paths, ram_sizes)?;
        Ok(Self { folder, kinds, ram })
    }

    pub(super) fn ram(&self) -> &DraftRam {
        &self.ram
    }

    /// Writes the state and moves both files into the store. The QEMU that wrote the memory must have
    /// exited.
    pub(super) fn commit(
        self,
        store: &Path,
        key: &TemplateKey,
        saved: &SavedState,
    ) -> io::Result<()> {
        self.ram.sync()?;
        // Closes the writable descriptors.
        drop(self.ram);
        let mut states = Vec::new();
        for kind in &self.kinds {
            let ram = key::file(store, key, kind);
            fs::rename(self.folder.join(kind), &ram)?;
            states.push(FileState::of(&ram)?);
        }
        let header = Header {
            schema: SCHEMA,
            key: key.clone(),
            greeting: saved.greeting.clone(),
            ram: states.remove(0),
            more_ram: states,
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

/// Opens the template of a key after checking that it is complete, unchanged and owned by this user.
/// Updates its time of use.
pub(super) fn open(store: &Path, key: &TemplateKey) -> Result<Template, Unusable> {
    let path = key::file(store, key, "state");
    let mut file = open_ours(&path, open_regular)?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)
        .map_err(|_| Unusable::Damaged("the state cannot be read"))?;
    let end = content.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or(Unusable::Damaged("the state has no header"))?;
    let header: Header = serde_json::from_slice(&content[..end])
        .map_err(|_| Unusable::Damaged("the header cannot be parsed"))?;
    content.drain(..=end);
    header.check(key, &content).map_err(Unusable::Damaged)?;
    let mut files = Vec::new();
    for (kind, saved) in key::ram_kinds().zip(std::iter::once(&header.ram).chain(&header.more_ram))
    {
        let path = key::file(store, key, &kind);
        let file = open_ours(&path, open_regular)?;
        // Checks the path and the open file, so that both are the file that was saved.
        let known = FileState::of_open(&path, &file);
        if !saved.is_unchanged() || known.ok().as_ref() != Some(saved) {
            return Err(Unusable::Damaged("the memory was changed"));
        }
        files.push(file);
    }
    let ram = TemplateRam::new(files);
    // In use as long as it is open. Who asks whether it is holds the lock for a moment; without the lock it
    // may be removed, but stays valid.
    let _ = ram.file().try_lock_shared();
    // The least recently used templates are removed first. A wrong order does no harm.
    let _ = file.set_modified(SystemTime::now());
    Ok(Template {
        ram,
        saved: SavedState {
            greeting: header.greeting,
            devices: content,
        },
    })
}

impl Header {
    fn check(&self, key: &TemplateKey, devices: &[u8]) -> Result<(), &'static str> {
        if self.schema != SCHEMA {
            return Err("the header has another version");
        }
        if self.key != *key {
            return Err("the key differs");
        }
        if self.devices_size != devices.len() {
            return Err("the state is truncated");
        }
        if self.devices_sha256 != hex(&Sha256::digest(devices)) {
            return Err("the state was changed");
        }
        Ok(())
    }
}

/// Opens a file that no other user can write.
fn open_ours(path: &Path, open: fn(&Path) -> io::Result<File>) -> Result<File, Unusable> {
    let file = open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unusable::Absent,
        _ => Unusable::Damaged("a file cannot be opened"),
    })?;
    match file.metadata() {
        Ok(data) if data.is_file() && is_ours(&data) => Ok(file),
        _ => Err(Unusable::Damaged(
            "a file belongs to another user or is writable by others",
        )),
    }
}

/// Returns whether this user owns a file and no other user can write to it.
pub(crate) fn is_ours(data: &fs::Metadata) -> bool {
    data.uid() == rustix::process::geteuid().as_raw() && data.mode() & 0o022 == 0
}
