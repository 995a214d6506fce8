//! The least of an NBD client: the handshake, reads and writes (`doc/proto.md` of NBD).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const HELLO: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

/// `NBD_FLAG_FIXED_NEWSTYLE` and `NBD_FLAG_NO_ZEROES`, the same two on either side.
const FLAGS: u32 = 0b11;
const OPT_EXPORT_NAME: u32 = 1;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;

/// A connection to one export.
pub(super) struct Nbd {
    stream: UnixStream,
    /// Bytes of the export.
    pub(super) size: u64,
}

impl Nbd {
    pub(super) fn connect(socket: &Path, export: &str) -> Result<Self> {
        let mut stream = UnixStream::connect(socket).context("cannot connect")?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        ensure!(number::<8>(&mut stream)? == HELLO, "it is no NBD server");
        ensure!(number::<8>(&mut stream)? == OPTION, "it has an old style");
        let flags = number::<2>(&mut stream)?;
        ensure!(
            flags & u64::from(FLAGS) == u64::from(FLAGS),
            "flags {flags:#x}"
        );
        let mut hello = FLAGS.to_be_bytes().to_vec();
        hello.extend(OPTION.to_be_bytes());
        hello.extend(OPT_EXPORT_NAME.to_be_bytes());
        hello.extend(u32::try_from(export.len())?.to_be_bytes());
        hello.extend(export.as_bytes());
        stream.write_all(&hello)?;
        let size = number::<8>(&mut stream).context("there is no such export")?;
        number::<2>(&mut stream)?;
        Ok(Self { stream, size })
    }

    pub(super) fn read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>> {
        self.request(READ, offset, length)?;
        self.reply()?;
        let mut data = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut data)?;
        Ok(data)
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.request(WRITE, offset, u32::try_from(data.len())?)?;
        self.stream.write_all(data)?;
        self.reply()
    }

    /// Says goodbye and waits until the server has closed the connection.
    pub(super) fn disconnect(mut self) -> Result<()> {
        self.request(DISCONNECT, 0, 0)?;
        ensure!(self.stream.read(&mut [0])? == 0, "it says more");
        Ok(())
    }

    fn request(&mut self, kind: u16, offset: u64, length: u32) -> Result<()> {
        let mut request = REQUEST.to_be_bytes().to_vec();
        request.extend(0u16.to_be_bytes());
        request.extend(kind.to_be_bytes());
        request.extend(0u64.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(length.to_be_bytes());
        Ok(self.stream.write_all(&request)?)
    }

    fn reply(&mut self) -> Result<()> {
        let magic = number::<4>(&mut self.stream)?;
        ensure!(magic == u64::from(REPLY), "reply {magic:#x}");
        let error = number::<4>(&mut self.stream)?;
        ensure!(error == 0, "error {error}");
        number::<8>(&mut self.stream)?;
        Ok(())
    }
}

/// Reads a number of so many bytes.
fn number<const BYTES: usize>(stream: &mut UnixStream) -> Result<u64> {
    let mut bytes = [0; BYTES];
    stream.read_exact(&mut bytes)?;
    Ok(bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
