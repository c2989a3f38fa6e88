//! Descriptors that Python hands over as numbers.
//!
//! The one file of this crate with `unsafe`: nothing but the caller's word says that a number is a descriptor of its own.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

static TAKEN: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Every descriptor that was taken over; some may be closed again.
pub(crate) fn taken() -> Vec<i32> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Takes an open descriptor over; a number that is none is an OSError.
pub(crate) fn owned(number: i32) -> io::Result<OwnedFd> {
    checked(number)?;
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(number);
    // SAFETY: it is open, and the contract in `_native.pyi` says that it belongs to us from now on.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A descriptor that stays the caller's, for the length of one call.
pub(crate) fn borrowed<'a>(number: i32) -> io::Result<BorrowedFd<'a>> {
    checked(number)
}

fn checked<'a>(number: i32) -> io::Result<BorrowedFd<'a>> {
    if number < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: not -1; used at once, by a call that answers EBADF where it is not open.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_getfd(descriptor)?;
    Ok(descriptor)
}
