//! Which shard takes a packet: a program for a fan-out group of packet sockets that looks inside tunnels.
//!
//! In: nothing. Out: a loaded program's descriptor, for `PACKET_FANOUT_DATA`.

use std::os::fd::{AsFd, OwnedFd};

use aya::{Ebpf, programs::SocketFilter};

use super::object::{BpfError, Object, no_such};

/// The fan-out program. Sockets keep what they were given; the map of fragments lives as long as they do.
#[derive(Debug)]
pub struct FanoutProgram {
    object: Ebpf,
}

impl FanoutProgram {
    /// Loads it.
    ///
    /// # Errors
    /// When weir was built without it, or the kernel does not take it.
    pub fn load() -> Result<Self, BpfError> {
        let mut object = Object::Fanout.load()?;
        load_socket_filter(&mut object, Object::Fanout)?;
        Ok(Self { object })
    }

    /// The program, for a group.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn descriptor(&self) -> Result<OwnedFd, BpfError> {
        socket_filter_descriptor(&self.object, Object::Fanout)
    }
}

/// Loads the socket filter of the same name as its object.
pub(super) fn load_socket_filter(object: &mut Ebpf, which: Object) -> Result<(), BpfError> {
    let name = which.name();
    let program: &mut SocketFilter = object
        .program_mut(name)
        .ok_or_else(|| no_such(name))?
        .try_into()
        .map_err(|error| BpfError::of(name, &error))?;
    program.load().map_err(|error| BpfError::of(name, &error))
}

/// A descriptor of its own for it.
pub(super) fn socket_filter_descriptor(object: &Ebpf, which: Object) -> Result<OwnedFd, BpfError> {
    let name = which.name();
    let program: &SocketFilter =
        object.program(name).ok_or_else(|| no_such(name))?.try_into().map_err(|error| BpfError::of(name, &error))?;
    let descriptor = program.fd().map_err(|error| BpfError::of(name, &error))?;
    descriptor.as_fd().try_clone_to_owned().map_err(|error| BpfError::of(name, &error))
}

#[cfg(test)]
#[path = "fanout_tests.rs"]
mod tests;
