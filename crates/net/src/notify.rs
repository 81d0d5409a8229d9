//! Tells the supervisor that the service is ready (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable in which a supervisor names its socket.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// Sends `READY=1` to the socket; a name that begins with `@` is in the abstract name space.
///
/// # Errors
/// Whatever the system says. The caller may go on: the supervisor then waits for its own time limit.
pub fn ready(socket: &OsStr) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1\n", &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("mos-net-test-{}", std::process::id());
        let on_disk = UnixDatagram::bind(&path).unwrap();
        let abstract_one = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        ready(path.as_os_str()).unwrap();
        ready(OsStr::new(&format!("@{name}"))).unwrap();
        for socket in [on_disk, abstract_one] {
            let mut buffer = [0; 32];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\n");
        }
    }
}
