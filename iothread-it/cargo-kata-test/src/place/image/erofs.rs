//! Writes file trees as EROFS images without compression, which Linux mounts since 5.4.
//!
//! The layout, in blocks of 4 KiB: the superblock, all inodes (the root's first), the entries of all
//! directories, and the content of each symbolic link and file. The kernel reads content from the disk
//! into its page cache, without a copy and only what is read.
//!
//! The format is described in the kernel's `Documentation/filesystems/erofs.rst` and `erofs_fs.h`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const BLOCK: u64 = 4096;
const BLOCK_BITS: u8 = 12;
const MAGIC: u32 = 0xE0F5_E1E2;
/// Where the superblock is in the first block.
const SUPERBLOCK: u64 = 1024;
/// The unit of inode numbers.
const SLOT: u64 = 32;
/// The size of an inode with 64-bit sizes and a time.
const INODE: u64 = 64;
/// That kind of inode, with contiguous content.
const INODE_FORMAT: u16 = 1;
/// The size of a directory's entry, without its name.
const ENTRY: usize = 12;

/// The owner of all files of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::place) struct Owner {
    pub(in crate::place) uid: u32,
    pub(in crate::place) gid: u32,
}

/// A file, as its inode describes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The permissions.
    pub(super) mode: u16,
    /// The modification time: seconds since 1970, and nanoseconds.
    pub(super) modified: (i64, u32),
}

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Directory(BTreeMap<OsString, Node>),
    /// A regular file: the file on this host, and its size in bytes.
    File(PathBuf, u64),
    /// The target of a symbolic link.
    Link(OsString),
}

impl Node {
    pub(super) fn directory(mode: u16) -> Self {
        Self {
            kind: Kind::Directory(BTreeMap::new()),
            mode,
            modified: (0, 0),
        }
    }

    /// Returns the bits of `st_mode` and the type in a directory's entry.
    fn type_bits(&self) -> (u16, u8) {
        match self.kind {
            Kind::Directory(_) => (0o040_000, 2),
            Kind::File(..) => (0o100_000, 1),
            Kind::Link(_) => (0o120_000, 7),
        }
    }
}

/// An inode whose place in the image is known.
struct Inode<'a> {
    node: &'a Node,
    /// The index of the directory that it is in.
    parent: usize,
    /// The indexes of a directory's files, with their names.
    files: Vec<(&'a OsStr, usize)>,
    /// A directory's encoded entries.
    entries: Vec<u8>,
    /// The first block of its content.
    block: u64,
}

impl Inode<'_> {
    fn size(&self) -> u64 {
        match &self.node.kind {
            Kind::Directory(_) => self.entries.len() as u64,
            Kind::File(_, size) => *size,
            Kind::Link(to) => to.len() as u64,
        }
    }

    fn link_count(&self, all: &[Inode<'_>]) -> u32 {
        let is_directory = |index: usize| matches!(all[index].node.kind, Kind::Directory(_));
        let folders = self.files.iter().filter(|(_, index)| is_directory(*index));
        match self.node.kind {
            Kind::Directory(_) => 2 + u32::try_from(folders.count()).unwrap_or(u32::MAX - 2),
            Kind::File(..) | Kind::Link(_) => 1,
        }
    }
}

/// Writes the tree below a directory.
///
/// # Errors
/// If a file cannot be read, has another size now, or the image cannot be written. The path is that
/// file's.
pub(super) fn write(
    root: &Node,
    owner: Owner,
    to: &File,
    image: &Path,
) -> Result<(), (PathBuf, io::Error)> {
    let (inodes, blocks) = plan(root);
    let at_image = |error| (image.to_owned(), error);
    let mut out = BufWriter::with_capacity(1 << 20, to);
    write_metadata(&inodes, blocks, owner, &mut out).map_err(at_image)?;
    for inode in &inodes {
        if inode.size() == 0 {
            continue;
        }
        let seek = SeekFrom::Start(inode.block * BLOCK);
        match &inode.node.kind {
            Kind::Directory(_) => {
                let written = out.seek(seek).and_then(|_| out.write_all(&inode.entries));
                written.map_err(at_image)?;
            }
            Kind::Link(target) => {
                let written = out
                    .seek(seek)
                    .and_then(|_| out.write_all(target.as_bytes()));
                written.map_err(at_image)?;
            }
            Kind::File(path, size) => {
                // Flushes, so that the kernel may copy from file to file.
                out.seek(seek).map_err(at_image)?;
                copy(path, *size, to).map_err(|error| (path.clone(), error))?;
            }
        }
    }
    out.flush().map_err(at_image)?;
    to.set_len(blocks * BLOCK).map_err(at_image)
}

fn copy(path: &Path, size: u64, mut to: &File) -> io::Result<()> {
    let mut content = File::open(path)?.take(size + 1);
    let copied = io::copy(&mut content, &mut to)?;
    if copied != size {
        return Err(io::Error::other(
            "the file was changed while it was packed; run again when nothing writes to it",
        ));
    }
    Ok(())
}

/// Gives each file its inode and blocks. Returns the inodes in order, and the number of blocks.
fn plan(root: &Node) -> (Vec<Inode<'_>>, u64) {
    let mut inodes = vec![inode(root, 0)];
    let mut next = 0;
    while next < inodes.len() {
        if let Kind::Directory(files) = &inodes[next].node.kind {
            for (name, node) in files {
                let index = inodes.len();
                inodes[next].files.push((name, index));
                inodes.push(inode(node, next));
            }
        }
        next += 1;
    }
    for index in 0..inodes.len() {
        if matches!(inodes[index].node.kind, Kind::Directory(_)) {
            inodes[index].entries = entries(index, &inodes);
        }
    }
    let mut block = 1 + (inodes.len() as u64 * INODE).div_ceil(BLOCK);
    for inode in &mut inodes {
        inode.block = block;
        block += inode.size().div_ceil(BLOCK);
    }
    (inodes, block)
}

fn inode(node: &Node, parent: usize) -> Inode<'_> {
    Inode {
        node,
        parent,
        files: Vec::new(),
        entries: Vec::new(),
        block: 0,
    }
}

/// Returns the number of an inode: its place in the image.
fn number(index: usize) -> u64 {
    (BLOCK + index as u64 * INODE) / SLOT
}

/// Encodes a directory: blocks that hold entries, sorted, and then their names.
fn entries(index: usize, inodes: &[Inode<'_>]) -> Vec<u8> {
    let inode = &inodes[index];
    let mut all: Vec<(&[u8], usize)> = inode
        .files
        .iter()
        .map(|(name, file)| (name.as_bytes(), *file))
        .chain([(&b"."[..], index), (&b".."[..], inode.parent)])
        .collect();
    all.sort_unstable();
    let mut bytes = Vec::new();
    let mut rest = &all[..];
    while !rest.is_empty() {
        let mut used = 0;
        let fits = |(name, _): &&(&[u8], usize)| {
            used += ENTRY + name.len();
            used <= BLOCK as usize
        };
        let (now, later) = rest.split_at(rest.iter().take_while(fits).count());
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        let mut name_offset = (now.len() * ENTRY) as u16;
        for (name, file) in now {
            bytes.extend(number(*file).to_le_bytes());
            bytes.extend(name_offset.to_le_bytes());
            bytes.extend([inodes[*file].node.type_bits().1, 0]);
            name_offset += name.len() as u16;
        }
        now.iter().for_each(|(name, _)| bytes.extend(*name));
        rest = later;
    }
    bytes
}

fn write_metadata(
    inodes: &[Inode<'_>],
    blocks: u64,
    owner: Owner,
    out: &mut (impl Write + Seek),
) -> io::Result<()> {
    let root = u16::try_from(number(0)).expect("the root's inode is the first");
    let too_large = |_| io::Error::other("too many files for one image");
    let mut head = vec![0; SUPERBLOCK as usize];
    head.extend(MAGIC.to_le_bytes());
    // No checksum, no optional features.
    head.extend([0; 8]);
    head.extend([BLOCK_BITS, 0]);
    head.extend(root.to_le_bytes());
    head.extend((inodes.len() as u64).to_le_bytes());
    // The time of the build; each inode has its own.
    head.extend([0; 12]);
    head.extend(u32::try_from(blocks).map_err(too_large)?.to_le_bytes());
    // Inodes are counted from the image's start. No extended attributes, no identifier, no features.
    head.resize(BLOCK as usize, 0);
    out.write_all(&head)?;
    for (index, inode) in inodes.iter().enumerate() {
        let number = u32::try_from(index + 1).map_err(too_large)?;
        let block = u32::try_from(inode.block).map_err(too_large)?;
        let (kind, _) = inode.node.type_bits();
        let (seconds, nanoseconds) = inode.node.modified;
        out.write_all(&INODE_FORMAT.to_le_bytes())?;
        out.write_all(&0_u16.to_le_bytes())?;
        out.write_all(&(kind | inode.node.mode).to_le_bytes())?;
        out.write_all(&0_u16.to_le_bytes())?;
        out.write_all(&inode.size().to_le_bytes())?;
        out.write_all(&block.to_le_bytes())?;
        for field in [number, owner.uid, owner.gid] {
            out.write_all(&field.to_le_bytes())?;
        }
        out.write_all(&seconds.to_le_bytes())?;
        out.write_all(&nanoseconds.to_le_bytes())?;
        out.write_all(&inode.link_count(inodes).to_le_bytes())?;
        out.write_all(&[0; 16])?;
    }
    Ok(())
}
