//! The file at the bottom: swapped for another one with the same contents.

use block_gs::{BqlGuard, Drained, Node};
use block_io::{Buffer, IoError, Preallocation, Request};

use super::{Changer, Outcome, words};
use crate::stress::disk::{ALL, open_file};

/// How much is copied by one request, in bytes.
const CHUNK: u64 = 256 << 10;

/// What is written to a file that is no longer used.
const STALE: u8 = 0xee;

impl Changer {
    /// Copies the file in a drained section and puts the copy in its place.
    /// Then the old one is spoilt, so a request that went there would show.
    pub(super) fn replace_file(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let name = self.fresh_name("file");
        let held = &self.disks[number];
        let (old, path) = (held.file.clone(), held.disk.path());
        let next = held.paths.iter().find(|next| **next != path);
        let next = next.unwrap_or(&path).clone();
        let direct = held.disk.granularity > 1;
        self.begin(format!("replace '{}' by '{name}'", old.name()));
        std::fs::write(&next, []).map_err(|error| error.to_string())?;
        let new = open_file(bql, &mut self.rng, &next, &name, direct).map_err(words)?;
        let mut section = old.drain(bql);
        self.check_quiet(number)?;
        copy(&mut section, &new).map_err(|error| format!("the copy failed: {error}"))?;
        self.check_quiet(number)?;
        match self.rng.once_in(2) {
            true => section.replace_with(&new),
            false => {
                let mut changes = section.transaction();
                changes.replace_with_all(&new);
                changes.commit()
            }
        }
        .map_err(words)?;
        let disk = &self.disks[number].disk;
        *disk
            .path
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = next;
        section.end();
        self.disks[number].file = new;
        drop(old);
        bql.poll(block_io::aio::Wait::No);
        let length = std::fs::metadata(&path).map_or(0, |file| file.len());
        std::fs::write(&path, vec![STALE; length as usize]).map_err(|error| error.to_string())?;
        Ok("files replaced")
    }

    /// Takes the second reader away, and puts it back.
    pub(super) fn reattach_reader(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let reader = self.disks[number].reader.clone();
        let pause = std::time::Duration::from_micros(self.rng.below(300));
        self.begin(format!("take '{}' away and put it back", reader.name()));
        reader.remove(bql);
        bql.run_for(pause);
        let file = self.disks[number].file.clone();
        reader.insert(bql, &file).map_err(words)?;
        Ok("backends removed and inserted")
    }

    /// Takes the right to resize away for a while.
    pub(super) fn restrict(&mut self, bql: &mut BqlGuard, number: usize) -> Outcome {
        let backend = self.disks[number].backend.clone();
        let pause = std::time::Duration::from_micros(self.rng.below(500));
        self.begin(format!("let '{}' not resize for a while", backend.name()));
        let less = ALL - block_gs::Perm::RESIZE;
        backend
            .set_perm(bql, less, block_gs::Perm::all())
            .map_err(words)?;
        bql.run_for(pause);
        backend
            .set_perm(bql, ALL, block_gs::Perm::all())
            .map_err(words)?;
        Ok("permissions changed")
    }
}

fn copy(section: &mut Drained<'_>, to: &Node) -> Result<(), IoError> {
    let length = section.io(async |request: Request<'_>| request.length().await)?;
    section.also(to).io(async |request: Request<'_>| {
        request.truncate(length, true, Preallocation::Off).await
    })?;
    let mut buffer = Buffer::zeroed(CHUNK as usize);
    for at in (0..length).step_by(CHUNK as usize) {
        let bytes = CHUNK.min(length - at) as usize;
        section.io(async |request: Request<'_>| {
            request
                .read(at, buffer.destination().split_at(bytes).0)
                .await
        })?;
        section.also(to).io(async |request: Request<'_>| {
            request.write(at, buffer.source().split_at(bytes).0).await
        })?;
    }
    Ok(())
}
