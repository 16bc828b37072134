//! Dirty bitmaps that are kept with the image.
//!
//! While somebody writes to the image all of them are marked as in use: what
//! is stored does not hold then. They are stored when the node is closed,
//! inactivated or opened for reading only. If that comes to nothing, because
//! somebody else refuses, the next write marks them again before it changes
//! anything.

use block_common::bitmap::HBitmap;
use block_common::error::errno;
use block_gs::{Drained, GraphError, StoredState};
use block_io::dirty::StoredBitmap;
use block_io::{Buffer, IoError, Request};

use crate::commit::Goal;
use crate::driver::Qcow2;
use crate::format::bitmap::{self, BitmapEntry, BitmapFlags, MAX_BYTES, MAX_NAME, Part};
use crate::format::header::{Autoclear, BitmapsExtension};
use crate::image::{Claimed, Image, Standing};
use crate::open::{read_bytes, read_words};
use crate::options::OverlapChecks;
use crate::switch::Extent;

/// It has more bits than that.
const TOO_FINE: &str = "Too much space will be occupied by the bitmap. Use larger granularity";

/// How many bitmaps an image has at most.
const MAX_COUNT: usize = 65535;

impl Image {
    /// Reads the directory.
    async fn read_directory(&self, request: Request<'_>) -> Result<Vec<BitmapEntry>, IoError> {
        let Some(known) = self.lock().header.bitmaps else {
            return Ok(Vec::new());
        };
        let file = request.file()?;
        let there = file.length().await?.saturating_sub(known.directory_offset);
        if known.directory_size > there {
            let broken = crate::format::FormatError::BitmapDirectory("truncated");
            return Err(broken.into());
        }
        let text = "Failed to read bitmap directory";
        let length = known.directory_size as usize;
        let bytes = read_bytes(file, known.directory_offset, length, text).await?;
        let size = self.geometry.cluster_size();
        Ok(bitmap::parse(&bytes, known.count, size)?)
    }

    /// Reads the bits of a bitmap. So many clusters may still be read for it,
    /// and for the others.
    async fn read_bitmap(
        &self,
        request: Request<'_>,
        entry: &BitmapEntry,
        left: &mut u64,
    ) -> Result<HBitmap, IoError> {
        let bad = |text: &str| IoError::refused(errno::EINVAL, text.to_owned());
        let granularity = u32::from(entry.granularity_bits);
        let mut bits =
            HBitmap::new(self.size(), granularity).map_err(|error| bad(&error.to_string()))?;
        let size = self.geometry.cluster_size();
        let per_cluster = (size * 8) << granularity;
        // None is stored without a table, not even of a disk without a byte.
        let needed = self.size().div_ceil(per_cluster).max(1);
        if u64::from(entry.table_size) != needed {
            return Err(bad("Bitmap table has the wrong size"));
        }
        let file = request.file()?;
        let length = file.length().await?;
        let text = "Failed to read bitmap table";
        let table = read_words(file, entry.table_offset, needed, length, text).await?;
        for (number, word) in table.into_iter().enumerate() {
            let start = number as u64 * per_cluster;
            let end = self.size().min(start + per_cluster);
            if start == end {
                break;
            }
            match Part::parse(word, size)? {
                Part::Clear => {}
                Part::Set => bits.set(start..end),
                // There it reads as zeroes.
                Part::At(offset) if offset >= length => {}
                Part::At(offset) => {
                    let Some(others) = left.checked_sub(1) else {
                        return Err(bad("Bitmaps have more clusters than the file"));
                    };
                    *left = others;
                    let wanted = bits.serialization_size(start..end);
                    let wanted = wanted.map_err(|error| bad(&error.to_string()))?;
                    let bytes =
                        read_bytes(file, offset, wanted as usize, "Failed to read bitmap").await?;
                    let read = bits.deserialize_part(start..end, &bytes);
                    read.map_err(|error| bad(&error.to_string()))?;
                }
            }
        }
        Ok(bits)
    }

    /// Whether one more bitmap has room.
    pub fn can_store_bitmap(&self, name: &str, granularity: u32) -> Result<(), IoError> {
        let refuse = |text: &'static str| Err(IoError::refused(errno::EINVAL, text));
        let state = self.lock();
        if state.header.version < 3 {
            return Err(IoError::refused(
                errno::ENOTSUP,
                "Cannot store dirty bitmaps in qcow2 v2 files",
            ));
        }
        if self.size() == 0 {
            // QEMU could not open it then.
            return refuse("Cannot store dirty bitmaps in an image without a byte");
        }
        if name.len() > MAX_NAME {
            return refuse("Name length exceeds maximum (1023 characters)");
        }
        let bits = granularity.trailing_zeros();
        if bits > 31 {
            return refuse("Granularity exceeds maximum (2147483648 bytes)");
        }
        if bits < 9 {
            return refuse("Granularity is under minimum (512 bytes)");
        }
        if state.bitmaps.len() >= MAX_COUNT {
            return refuse("Maximum number of persistent bitmaps is already reached");
        }
        if self.size().div_ceil(u64::from(granularity)).div_ceil(8) > MAX_BYTES {
            return refuse(TOO_FINE);
        }
        Ok(())
    }

    /// Stores bitmaps in place of those of the same names. Others stay as they
    /// are.
    pub async fn store_bitmaps(
        &self,
        request: Request<'_>,
        stored: &[StoredBitmap],
    ) -> Result<(), IoError> {
        self.check_sane()?;
        if self.lock().header.version < 3 {
            // There is no place for them since the image was made older.
            return Ok(());
        }
        // Given back unless the directory refers to them.
        let mut claimed = Vec::new();
        let mut written = Vec::new();
        for bitmap in stored {
            written.push(self.write_bitmap(request, bitmap, &mut claimed).await?);
        }
        let mut all = self.lock().bitmaps.clone();
        let mut old = Vec::new();
        // Each keeps its place in the directory.
        for entry in written {
            match all.iter_mut().find(|known| known.name == entry.name) {
                Some(known) => old.push(std::mem::replace(known, entry)),
                None => all.push(entry),
            }
        }
        // Whoever writes from now on has to mark them.
        self.standing.note(Standing::UNMARKED);
        self.replace_directory(request, all, claimed).await?;
        for entry in old {
            self.free_bitmap(request, &entry).await?;
        }
        self.commit(request, Goal::Durable).await
    }

    /// Removes a bitmap, if it is there.
    pub async fn remove_bitmap(&self, request: Request<'_>, name: &str) -> Result<(), IoError> {
        let mut all = self.lock().bitmaps.clone();
        let Some(at) = all.iter().position(|entry| entry.name == name) else {
            return Ok(());
        };
        self.check_sane()?;
        let gone = all.remove(at);
        self.replace_directory(request, all, Vec::new()).await?;
        self.free_bitmap(request, &gone).await?;
        self.commit(request, Goal::Durable).await
    }

    /// Writes the bits and the table of a bitmap, in clusters that are added to
    /// `all`.
    async fn write_bitmap<'i>(
        &'i self,
        request: Request<'_>,
        bitmap: &StoredBitmap,
        all: &mut Vec<Claimed<'i>>,
    ) -> Result<BitmapEntry, IoError> {
        let bits = &bitmap.contents;
        let granularity = bits.granularity_bits();
        let size = self.geometry.cluster_size();
        let shift = self.geometry.cluster_bits;
        let per_cluster = (size * 8) << granularity;
        let length = self.size().min(bits.size());
        let count = self.size().div_ceil(per_cluster).max(1);
        let file = request.file()?;
        let bad = |text: String| IoError::refused(errno::EINVAL, text);
        if count.saturating_mul(size) > MAX_BYTES {
            // The image has grown since.
            let name = &bitmap.name;
            let text = format!("Bitmap '{name}' doesn't satisfy the constraints: {TOO_FINE}");
            return Err(bad(text));
        }
        let no_room = |error: IoError| {
            let text = format!("Failed to allocate clusters for bitmap '{}'", bitmap.name);
            IoError::refused(error.errno(), format!("{text}: {error}"))
        };
        let not_written = |error: IoError| {
            let text = format!("Failed to write bitmap '{}' to file: {error}", bitmap.name);
            IoError::refused(error.errno(), text)
        };
        let mut table = vec![0u8; (self.geometry.clusters_of(count * 8) << shift) as usize];
        for number in 0..count {
            let start = (number * per_cluster).min(length);
            let end = length.min(start + per_cluster);
            if bits.next_dirty(start..end).is_none() {
                continue;
            }
            let wanted = bits.serialization_size(start..end);
            let wanted = wanted.map_err(|error| bad(error.to_string()))?;
            let mut buffer = Buffer::zeroed(size as usize);
            let to = &mut buffer.as_mut_slice()[..wanted as usize];
            let written = bits.serialize_part(start..end, to);
            written.map_err(|error| bad(error.to_string()))?;
            let claimed = self.claim(request, 1, true).await.map_err(no_room)?;
            let written = file.write(claimed.offset(), buffer.source()).await;
            written.map_err(not_written)?;
            let at = number as usize * 8;
            table[at..at + 8].copy_from_slice(&Part::At(claimed.offset()).word().to_be_bytes());
            all.push(claimed);
        }
        let clusters = table.len() as u64 >> shift;
        let claimed = self.claim(request, clusters, true).await;
        let claimed = claimed.map_err(no_room)?;
        let table = Buffer::from(&*table);
        let written = file.write(claimed.offset(), table.source()).await;
        written.map_err(not_written)?;
        let entry = BitmapEntry {
            table_offset: claimed.offset(),
            table_size: count as u32,
            flags: match bitmap.enabled {
                true => BitmapFlags::AUTO,
                false => BitmapFlags::empty(),
            },
            granularity_bits: granularity as u8,
            name: bitmap.name.clone(),
        };
        all.push(claimed);
        Ok(entry)
    }

    /// Stores another directory, which refers to `claimed` clusters, and lets
    /// the header say where it is.
    async fn replace_directory(
        &self,
        request: Request<'_>,
        all: Vec<BitmapEntry>,
        claimed: Vec<Claimed<'_>>,
    ) -> Result<(), IoError> {
        let bytes = bitmap::write(&all);
        let bits = self.geometry.cluster_bits;
        let file = request.file()?;
        let directory = match bytes.is_empty() {
            true => None,
            false => {
                let clusters = self.geometry.clusters_of(bytes.len() as u64);
                let claimed = self.claim(request, clusters, true).await?;
                let mut buffer = Buffer::zeroed((clusters << bits) as usize);
                buffer.as_mut_slice()[..bytes.len()].copy_from_slice(&bytes);
                file.write(claimed.offset(), buffer.source()).await?;
                Some(claimed)
            }
        };
        let _turn = self.commits.enter(0..1, true).await;
        self.commit_now(request, Goal::Durable).await?;
        let new = directory.as_ref().map(|directory| BitmapsExtension {
            count: all.len() as u32,
            directory_size: bytes.len() as u64,
            directory_offset: directory.offset(),
        });
        let before = self.lock().header.bitmaps;
        let claimed = claimed.into_iter().chain(directory).collect();
        self.switch_header(request, Extent::Whole, claimed, |header| {
            header.bitmaps = new;
            header.autoclear.set(Autoclear::BITMAPS, new.is_some());
        })
        .await?;
        let discard = self.settings.lock().pass_discard_other;
        let state = &mut *self.lock();
        if let Some(old) = before {
            let first = old.directory_offset >> bits;
            let clusters = self.geometry.clusters_of(old.directory_size);
            state.release(first..first + clusters, discard);
        }
        state.bitmaps = all;
        Ok(())
    }

    /// Gives up the clusters of a bitmap that no directory has any more.
    async fn free_bitmap(&self, request: Request<'_>, entry: &BitmapEntry) -> Result<(), IoError> {
        let file = request.file()?;
        let length = file.length().await?;
        let bits = self.geometry.cluster_bits;
        let there = length.saturating_sub(entry.table_offset) / 8;
        let count = u64::from(entry.table_size).min(there);
        let text = "Failed to read bitmap table";
        let table = read_words(file, entry.table_offset, count, length, text).await?;
        let discard = self.settings.lock().pass_discard_other;
        let state = &mut *self.lock();
        for word in table {
            if let Ok(Part::At(offset)) = Part::parse(word, self.geometry.cluster_size()) {
                state.release(offset >> bits..(offset >> bits) + 1, discard);
            }
        }
        let first = entry.table_offset >> bits;
        let clusters = self.geometry.clusters_of(u64::from(entry.table_size) * 8);
        state.release(first..first + clusters, discard);
        Ok(())
    }

    /// Marks all bitmaps, which get out of date now. Only with the turn to
    /// commit, or when nothing else is in flight.
    ///
    /// # Errors
    /// They are as they were, as far as anybody knows.
    pub async fn mark_in_use(&self, request: Request<'_>) -> Result<(), IoError> {
        // The stored header may refer to another directory than the one that
        // is marked.
        self.settle_header(request).await?;
        let (marked, offset) = {
            let state = self.lock();
            let Some(known) = state.header.bitmaps else {
                return Ok(());
            };
            let mut marked = state.bitmaps.clone();
            for entry in &mut marked {
                entry.flags |= BitmapFlags::IN_USE;
            }
            (marked, known.directory_offset)
        };
        let bytes = bitmap::write(&marked);
        // A damaged header may say that it is where something else is.
        let own = OverlapChecks::BITMAP_DIRECTORY;
        self.check_metadata(request, offset, bytes.len() as u64, own)
            .await?;
        let file = request.file()?;
        file.write(offset, Buffer::from(&*bytes).source()).await?;
        file.flush().await?;
        self.lock().bitmaps = marked;
        Ok(())
    }
}

/// Brings the bitmaps of the image to the node. Those of an image that can be
/// written are in use from then on. What the node has already, and what is
/// stored is not newer than that, stays (`qcow2_load_dirty_bitmaps`).
///
/// # Errors
/// When one of them cannot be read: none that was read is at the node then.
/// When they cannot be marked: they are at the node, because those that are
/// stored may be marked.
pub(crate) fn load(section: &mut Drained<'_>, driver: &Qcow2) -> Result<(), GraphError> {
    let image = &driver.image;
    let entries = section.io(async |request: Request<'_>| image.read_directory(request).await)?;
    // Whoever stores one of them leaves the others where they are.
    image.lock().bitmaps.clone_from(&entries);
    let names = section.node().bitmaps(section);
    let names = names.filter(|view| view.is_inconsistent());
    let is_gone = |name: &String| entries.iter().all(|entry| entry.name != *name);
    let gone: Vec<String> = names
        .map(|view| view.name().to_owned())
        .filter(is_gone)
        .collect();
    for name in gone {
        // Another process has removed it from the image.
        section.release_stored_bitmap(&name);
    }
    let mut brought = Vec::new();
    bring(section, driver, &entries, &mut brought).inspect_err(|_| {
        for name in brought {
            section.release_stored_bitmap(name);
        }
    })?;
    match section.node().view(section).is_writable() {
        true => become_writable(section, driver),
        false => Ok(()),
    }
}

/// Brings those that are to come, and notes which.
fn bring<'e>(
    section: &mut Drained<'_>,
    driver: &Qcow2,
    entries: &'e [BitmapEntry],
    brought: &mut Vec<&'e str>,
) -> Result<(), GraphError> {
    let image = &driver.image;
    let node = section.node().clone();
    let writable = node.view(section).is_writable();
    // No cluster belongs to two of them: what they take is bounded by what
    // there is, however often they say that they have it.
    let mut left = match entries.is_empty() {
        true => 0,
        false => {
            let length = section.io(async |request: Request<'_>| request.file()?.length().await)?;
            image.geometry.clusters_of(length)
        }
    };
    for entry in entries {
        let inconsistent = entry.flags.contains(BitmapFlags::IN_USE);
        let known = node.bitmaps(section).find(|view| view.name() == entry.name);
        let stays = known.map(|view| inconsistent || view.info().busy);
        match stays {
            Some(true) => continue,
            Some(false) => section.release_stored_bitmap(&entry.name),
            None => {}
        }
        let contents = match inconsistent {
            true => HBitmap::new(image.size(), u32::from(entry.granularity_bits))
                .map_err(|error| IoError::refused(errno::EINVAL, error.to_string())),
            false => {
                let left = &mut left;
                section
                    .io(async |request: Request<'_>| image.read_bitmap(request, entry, left).await)
            }
        };
        let stored = StoredBitmap {
            name: entry.name.clone(),
            enabled: entry.flags.contains(BitmapFlags::AUTO),
            contents: contents?,
        };
        let state = StoredState {
            read_only: !writable,
            inconsistent,
        };
        section
            .add_stored_bitmap(stored, state)
            .map_err(|error| GraphError::Refused {
                message: error.to_string(),
                errno: error.errno(),
            })?;
        brought.push(&entry.name);
    }
    let in_doubt = node.bitmaps(section).filter(|view| view.is_inconsistent());
    let names = in_doubt.map(|view| view.name().to_owned()).collect();
    image.lock().inconsistent = names;
    Ok(())
}

/// Lets the bitmaps of an image that has become writable note what is
/// written (`qcow2_reopen_bitmaps_rw`).
///
/// # Errors
/// They stay as they are, and nothing is written to the node.
pub(crate) fn become_writable(section: &mut Drained<'_>, driver: &Qcow2) -> Result<(), GraphError> {
    let image = &driver.image;
    section.io(async |request: Request<'_>| image.mark_in_use(request).await)?;
    image.standing.forget(Standing::UNMARKED);
    section.set_stored_bitmaps_read_only(false);
    Ok(())
}
