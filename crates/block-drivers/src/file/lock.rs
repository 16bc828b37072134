//! Host locks: permissions, as other processes see them.
//!
//! Each permission has two bytes of the file. A read lock on the first one
//! says "I have this permission", one on the second "I do not share it". Read
//! locks exclude nobody, so everyone can say what they do; whether somebody
//! else says so is found out by asking whether a write lock *could* be had.
//! First say, then ask: of two that come at the same time at least one sees
//! the other.
//!
//! The bytes are QEMU's, so its programs and this library exclude each other.
//! They are far inside most images, which does not matter: locks are advice
//! among those who ask, and no request asks.
//!
//! A lock belongs to the open file description. Two nodes of one file exclude
//! each other like two processes, and closing some other descriptor of the
//! file releases nothing, as it would for the older locks of POSIX.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};

use block_common::error::errno;
use block_common::role::PermPair;
use block_common::{GraphError, IoError, Perm};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// The byte that says "I have the permission of bit 0".
const HELD: u8 = 100;

/// The byte that says "I do not share the permission of bit 0".
const UNSHARED: u8 = 200;

/// Whether others are locked out (`locking`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Locking {
    /// Yes, where kernel and file system have such locks.
    #[default]
    Auto,
    /// Yes; without such locks the file is not opened.
    On,
    /// No. Whatever others do to the file is not noticed.
    Off,
}

impl Locking {
    /// Whether the file is to be locked.
    ///
    /// # Errors
    /// [`GraphError::Refused`] when it is to be and cannot.
    pub(super) fn is_wanted(self, fd: impl AsFd) -> Result<bool, GraphError> {
        match (self, supported(fd.as_fd())) {
            (Locking::Off, _) => Ok(false),
            (Locking::Auto, supported) => Ok(supported.is_ok()),
            (Locking::On, Ok(())) => Ok(true),
            (Locking::On, Err(error)) => {
                let error = IoError::from(error);
                Err(GraphError::Refused {
                    message: format!("locking=on was specified, but is not available: {error}"),
                    errno: error.errno(),
                })
            }
        }
    }
}

/// What is said about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    held: Perm,
    unshared: Perm,
}

impl Said {
    const NOTHING: Said = Said {
        held: Perm::empty(),
        unshared: Perm::empty(),
    };

    fn of(pair: PermPair) -> Said {
        Said {
            held: pair.perm,
            unshared: pair.shared.complement(),
        }
    }

    fn and(self, other: Said) -> Said {
        Said {
            held: self.held | other.held,
            unshared: self.unshared | other.unshared,
        }
    }

    fn bytes(self) -> impl Iterator<Item = u8> {
        bytes(HELD, self.held).chain(bytes(UNSHARED, self.unshared))
    }
}

fn bytes(base: u8, perms: Perm) -> impl Iterator<Item = u8> {
    perms.iter().map(move |perm| base + bit(perm))
}

/// The number of the bit of one permission.
fn bit(perm: Perm) -> u8 {
    perm.bits().trailing_zeros() as u8
}

/// What a descriptor says about its file. The same descriptor goes to every
/// call.
#[derive(Debug)]
pub(super) struct HostLocks {
    /// How messages name the file.
    image: String,
    granted: Cell<Said>,
    /// What is locked: `granted`, more while a change is being prepared, and
    /// whatever the kernel refused to unlock.
    locked: Cell<Said>,
}

impl HostLocks {
    /// Nothing is said yet.
    pub(super) fn new(image: String) -> HostLocks {
        HostLocks {
            image,
            granted: Cell::new(Said::NOTHING),
            locked: Cell::new(Said::NOTHING),
        }
    }

    /// The same for another descriptor of the file, which says nothing yet.
    pub(super) fn silent(&self) -> HostLocks {
        HostLocks::new(self.image.clone())
    }

    /// Says nothing any longer. While `self` is another descriptor's successor
    /// that one says everything; and it would hear this one as if it were
    /// somebody else.
    pub(super) fn fall_silent(&self, fd: BorrowedFd<'_>) {
        self.granted.set(Said::NOTHING);
        self.unlock_surplus(fd);
    }

    /// Says what `before` says, and what is `asked`: of that descriptor
    /// somebody has looked already. Read locks do not exclude each other, so
    /// nobody objects.
    ///
    /// # Errors
    /// [`GraphError::Refused`] when the kernel gives no lock; then nothing is
    /// said.
    pub(super) fn say(
        &self,
        fd: BorrowedFd<'_>,
        before: &HostLocks,
        asked: PermPair,
    ) -> Result<(), GraphError> {
        let outcome = self.lock(fd, before.granted.get().and(Said::of(asked)));
        if outcome.is_err() {
            self.abort(fd);
        }
        outcome
    }

    /// Takes the place of `before`, which falls silent. What has been
    /// [said](HostLocks::say) already takes no lock; what has not, and gets
    /// none from the kernel now, the next change tries again.
    pub(super) fn succeed(&self, fd: BorrowedFd<'_>, before: &HostLocks, old: BorrowedFd<'_>) {
        let granted = before.granted.get();
        match self.lock(fd, granted) {
            Ok(()) => self.granted.set(granted),
            Err(_) => self.abort(fd),
        }
        before.fall_silent(old);
    }

    /// Says what is `asked` besides what was granted, and looks whether
    /// somebody objects.
    ///
    /// # Errors
    /// [`GraphError::RefusedWithHint`] when somebody does;
    /// [`GraphError::Refused`] when the kernel gives no lock. Then the locks
    /// are as they were before.
    pub(super) fn prepare(&self, fd: BorrowedFd<'_>, asked: PermPair) -> Result<(), GraphError> {
        let granted = self.granted.get();
        let both = granted.and(Said::of(asked));
        // To ask for less cannot be refused, whatever the file system says.
        if both == granted {
            return Ok(());
        }
        let outcome = self
            .lock(fd, both)
            .and_then(|()| self.check(fd, Said::of(asked)));
        if outcome.is_err() {
            self.abort(fd);
        }
        outcome
    }

    /// What was prepared is granted; nothing else is said any longer.
    pub(super) fn commit(&self, fd: BorrowedFd<'_>, granted: PermPair) {
        self.granted.set(Said::of(granted));
        self.unlock_surplus(fd);
    }

    /// What was prepared is not granted.
    pub(super) fn abort(&self, fd: BorrowedFd<'_>) {
        self.unlock_surplus(fd);
    }

    fn lock(&self, fd: BorrowedFd<'_>, said: Said) -> Result<(), GraphError> {
        let before = self.locked.get();
        // Noted first: unlocking what is not locked does no harm.
        self.locked.set(before.and(said));
        let missing = Said {
            held: said.held - before.held,
            unshared: said.unshared - before.unshared,
        };
        for byte in missing.bytes() {
            set(fd, byte, libc::F_RDLCK).map_err(|error| {
                let error = IoError::from(std::io::Error::from(error));
                GraphError::Refused {
                    message: format!("Failed to lock byte {byte}: {error}"),
                    errno: error.errno(),
                }
            })?;
        }
        Ok(())
    }

    fn check(&self, fd: BorrowedFd<'_>, said: Said) -> Result<(), GraphError> {
        for perm in said.held.iter() {
            let message = || format!("Failed to get \"{perm}\" lock");
            self.check_byte(fd, UNSHARED + bit(perm), message)?;
        }
        for perm in said.unshared.iter() {
            let message = || format!("Failed to get shared \"{perm}\" lock");
            self.check_byte(fd, HELD + bit(perm), message)?;
        }
        Ok(())
    }

    fn check_byte(
        &self,
        fd: BorrowedFd<'_>,
        byte: u8,
        message: impl FnOnce() -> String,
    ) -> Result<(), GraphError> {
        let errno = match is_locked_by_others(fd, byte) {
            Ok(false) => return Ok(()),
            Ok(true) => errno::EAGAIN,
            Err(error) => error as i32,
        };
        Err(GraphError::RefusedWithHint {
            message: message(),
            hint: format!("Is another process using the image [{}]?", self.image),
            errno,
        })
    }

    /// Nobody can be told that unlocking failed, as it may on a network file
    /// system; the byte stays noted and the next change tries again.
    fn unlock_surplus(&self, fd: BorrowedFd<'_>) {
        let granted = self.granted.get();
        let locked = self.locked.get();
        let unlock = |base, surplus: Perm| {
            let failed = |perm: &Perm| set(fd, base + bit(*perm), libc::F_UNLCK).is_err();
            surplus.iter().filter(failed).collect::<Perm>()
        };
        self.locked.set(Said {
            held: granted.held | unlock(HELD, locked.held - granted.held),
            unshared: granted.unshared | unlock(UNSHARED, locked.unshared - granted.unshared),
        });
    }
}

/// Whether the file behind the descriptor has locks of this kind.
///
/// # Errors
/// Why not.
fn supported(fd: BorrowedFd<'_>) -> std::io::Result<()> {
    is_locked_by_others(fd, HELD)?;
    Ok(())
}

/// One byte from `start` on.
fn byte_lock(start: u8, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start.into(),
        l_len: 1,
        // Must be 0 for a lock of an open file description.
        l_pid: 0,
    }
}

fn set(fd: BorrowedFd<'_>, byte: u8, kind: libc::c_int) -> Result<(), Errno> {
    let lock = byte_lock(byte, kind);
    retry(|| fcntl(fd, FcntlArg::F_OFD_SETLK(&lock)))
}

fn is_locked_by_others(fd: BorrowedFd<'_>, byte: u8) -> Result<bool, Errno> {
    let mut lock = byte_lock(byte, libc::F_WRLCK);
    retry(|| fcntl(fd, FcntlArg::F_OFD_GETLK(&mut lock)))?;
    Ok(libc::c_int::from(lock.l_type) != libc::F_UNLCK)
}

/// A file system that asks a server can be interrupted.
fn retry(mut call: impl FnMut() -> Result<libc::c_int, Errno>) -> Result<(), Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    const EVERYTHING: Perm = Perm::all();

    fn pair(perm: Perm, shared: Perm) -> PermPair {
        PermPair { perm, shared }
    }

    /// Two open descriptions of one file.
    fn two() -> (tempfile::TempDir, [(File, HostLocks); 2]) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("image");
        fs::write(&path, b"").expect("written");
        let open = || {
            let file = File::open(&path).expect("opened");
            (file, HostLocks::new("image".into()))
        };
        let both = [open(), open()];
        (directory, both)
    }

    /// Which of the sixteen bytes somebody other than `file` has locked.
    fn seen_from(file: &File) -> Vec<u8> {
        let all = (HELD..HELD + 8).chain(UNSHARED..UNSHARED + 8);
        all.filter(|&byte| is_locked_by_others(file.as_fd(), byte).expect("asked"))
            .collect()
    }

    #[test]
    fn every_pair_of_permission_and_sharing_agrees_with_the_graph() {
        let (_directory, [(a, locks), (b, others)]) = two();
        for held in Perm::all().iter() {
            for wanted in Perm::all().iter() {
                locks
                    .prepare(a.as_fd(), pair(held, EVERYTHING - wanted))
                    .expect("alone");
                locks.commit(a.as_fd(), pair(held, EVERYTHING - wanted));

                let refused = others.prepare(b.as_fd(), pair(wanted, EVERYTHING));
                let error = refused.expect_err("not shared");
                let message = format!("Failed to get \"{wanted}\" lock");
                assert_eq!(error.to_string(), message);
                let hint = Some("Is another process using the image [image]?");
                assert_eq!(error.hint(), hint);
                assert_eq!(error.errno(), errno::EAGAIN);

                let nothing = Perm::empty();
                let refused = others.prepare(b.as_fd(), pair(nothing, EVERYTHING - held));
                let message = format!("Failed to get shared \"{held}\" lock");
                assert_eq!(refused.expect_err("in use").to_string(), message);

                assert_eq!(seen_from(&a), [], "a refusal leaves nothing behind");
                let rest = pair(EVERYTHING - wanted, EVERYTHING - (EVERYTHING - held));
                others.prepare(b.as_fd(), rest).expect("no conflict");
                others.abort(b.as_fd());
                locks.commit(a.as_fd(), pair(nothing, EVERYTHING));
                assert_eq!(seen_from(&b), []);
            }
        }
    }

    #[test]
    fn old_and_new_are_locked_until_the_change_is_over() {
        let (_directory, [(a, locks), (b, _)]) = two();
        let old = pair(Perm::CONSISTENT_READ, EVERYTHING - Perm::RESIZE);
        let new = pair(Perm::WRITE, EVERYTHING - Perm::WRITE);
        locks.prepare(a.as_fd(), old).expect("alone");
        locks.commit(a.as_fd(), old);
        assert_eq!(seen_from(&b), [100, 203]);
        locks.prepare(a.as_fd(), new).expect("alone");
        assert_eq!(seen_from(&b), [100, 101, 201, 203]);
        locks.abort(a.as_fd());
        assert_eq!(seen_from(&b), [100, 203]);
        locks.prepare(a.as_fd(), new).expect("alone");
        locks.commit(a.as_fd(), new);
        assert_eq!(seen_from(&b), [101, 201]);
        assert_eq!(seen_from(&a), [], "one's own locks are no one else's");
    }

    #[test]
    fn closing_the_description_releases_its_locks_and_no_other() {
        let (directory, [(a, locks), (b, others)]) = two();
        let reader = pair(Perm::CONSISTENT_READ, EVERYTHING - Perm::WRITE);
        locks.prepare(a.as_fd(), reader).expect("alone");
        others.prepare(b.as_fd(), reader).expect("no conflict");
        let third = File::open(directory.path().join("image")).expect("opened");
        assert_eq!(seen_from(&third), [100, 201]);
        drop(a);
        assert_eq!(seen_from(&third), [100, 201]);
        drop(b);
        assert_eq!(seen_from(&third), []);
    }

    #[test]
    fn to_ask_for_less_succeeds_whatever_others_say() {
        let (_directory, [(a, locks), (b, others)]) = two();
        let writer = pair(Perm::WRITE | Perm::CONSISTENT_READ, EVERYTHING);
        locks.prepare(a.as_fd(), writer).expect("alone");
        locks.commit(a.as_fd(), writer);
        // Somebody who does not ask first.
        others
            .lock(b.as_fd(), Said::of(pair(Perm::empty(), Perm::empty())))
            .expect("a read lock");
        let reader = pair(Perm::CONSISTENT_READ, EVERYTHING);
        locks.prepare(a.as_fd(), reader).expect("less");
        locks.commit(a.as_fd(), reader);
        assert_eq!(seen_from(&b), [100]);
    }

    #[test]
    fn a_lock_that_the_kernel_does_not_give_is_named() {
        let (directory, [(a, locks), (b, _)]) = two();
        let writable = File::options()
            .write(true)
            .open(directory.path().join("image"));
        let writable = writable.expect("opened");
        set(writable.as_fd(), UNSHARED + 1, libc::F_WRLCK).expect("alone");
        let asked = pair(Perm::CONSISTENT_READ, EVERYTHING - Perm::WRITE);
        let error = locks.prepare(a.as_fd(), asked).expect_err("locked");
        let text = "Failed to lock byte 201: Resource temporarily unavailable";
        assert_eq!(error.to_string(), text);
        assert_eq!(error.hint(), None);
        assert_eq!(seen_from(&b), [201], "nothing of ours is left");
    }

    #[test]
    fn files_on_disk_and_in_memory_have_locks() {
        let (_directory, [(a, _), _]) = two();
        supported(a.as_fd()).expect("a file");
        let shm = tempfile::tempfile_in("/dev/shm").expect("a file in memory");
        supported(shm.as_fd()).expect("a file in memory");
    }
}
