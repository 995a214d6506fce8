//! What can be the name of a command.

/// Accepts what can be the name of a file on PATH and nothing that looks like more.
pub(crate) const fn name(name: &'static str) -> Result<&'static str, &'static str> {
    if name.is_empty() {
        return Err("a command needs a name, such as \"qemu-img\"");
    }
    let bytes = name.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        if bytes[index] == b'/' {
            return Err("a command is searched on PATH: state its name without a directory");
        }
        if bytes[index] <= b' ' || bytes[index] == 0x7f {
            return Err("a command is one name, without spaces or arguments");
        }
        index += 1;
    }
    Ok(name)
}
