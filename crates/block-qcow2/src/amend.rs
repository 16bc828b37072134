//! Changing options with which an image was made.
//!
//! What can be refused is refused before anything is changed. Then there are
//! phases, each of which leaves an image that is whole: whoever cancels an
//! amendment has an image with some of its options changed.

use block_common::error::errno;
use block_common::{GraphError, Value};
use block_io::{IoError, Preallocation, Request};

use crate::format::header::{Autoclear, Compatible, Compression, Header, Incompatible};
use crate::image::Image;
use crate::switch::Extent;

/// Is told how far something is: so much of so much.
pub(crate) type Tell<'t> = &'t (dyn Fn(u64, u64) + Send + Sync);

/// What is to be changed; `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Amendment {
    version: Option<u32>,
    size: Option<u64>,
    lazy_refcounts: Option<bool>,
    /// A name, or nothing to take it away.
    data_file: Option<String>,
    data_file_raw: Option<bool>,
    /// How wide counts are, as a power of two.
    refcount_order: Option<u32>,
}

fn refused(errno: i32, message: impl Into<String>) -> GraphError {
    GraphError::Refused {
        message: message.into(),
        errno,
    }
}

fn invalid(message: impl Into<String>) -> GraphError {
    refused(errno::EINVAL, message)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(on) => Some(if *on { "on" } else { "off" }.to_owned()),
        _ => None,
    }
}

fn switch(key: &str, value: &str) -> Result<bool, GraphError> {
    match value {
        "on" | "yes" | "true" => Ok(true),
        "off" | "no" | "false" => Ok(false),
        _ => Err(invalid(format!("Parameter '{key}' expects 'on' or 'off'"))),
    }
}

fn width(bits: Option<u64>) -> Result<u32, GraphError> {
    match bits {
        Some(bits) if bits.is_power_of_two() && bits <= 64 => Ok(bits.trailing_zeros()),
        _ => Err(invalid(
            "Refcount width must be a power of two and may not exceed 64 bits",
        )),
    }
}

impl Amendment {
    /// Reads options as `qemu-img amend -o` has them, for an image that is
    /// `header`.
    pub fn parse(options: &Value, header: &Header) -> Result<Amendment, GraphError> {
        let mut amendment = Amendment::default();
        let (mut backing_file, mut backing_format) = (None, None);
        let Value::Map(entries) = options else {
            return Ok(amendment);
        };
        for (key, value) in entries {
            let said = text(value).ok_or_else(|| invalid(format!("Invalid parameter '{key}'")))?;
            let number = said.parse::<u64>().ok();
            match key.as_str() {
                "compat" => {
                    amendment.version = match said.as_str() {
                        "0.10" | "v2" => Some(2),
                        "1.1" | "v3" => Some(3),
                        _ => return Err(invalid(format!("Unknown compatibility level {said}"))),
                    };
                }
                "size" => {
                    let number = number
                        .ok_or_else(|| invalid(format!("Parameter '{key}' expects a size")))?;
                    // QEMU leaves it as it is then.
                    amendment.size = Some(number).filter(|size| *size > 0);
                }
                "lazy_refcounts" => amendment.lazy_refcounts = Some(switch(key, &said)?),
                "backing_file" => backing_file = Some(said),
                "backing_fmt" => backing_format = Some(said),
                "data_file" if header.has_data_file() => amendment.data_file = Some(said),
                "data_file" => {
                    return Err(invalid(
                        "data-file can only be set for images that use an external data file",
                    ));
                }
                "data_file_raw" => {
                    let raw = switch(key, &said)?;
                    if raw && !header.has_raw_data() {
                        return Err(invalid("data-file-raw cannot be set on existing images"));
                    }
                    amendment.data_file_raw = Some(raw);
                }
                "refcount_bits" => amendment.refcount_order = Some(width(number)?),
                key if key.starts_with("encrypt.") => {
                    return Err(invalid(
                        "Can't amend encryption options - encryption not present",
                    ));
                }
                _ => return Err(invalid(format!("Invalid parameter '{key}'"))),
            }
        }
        amendment.check(header, (backing_file, backing_format))?;
        Ok(amendment)
    }

    /// Refuses what cannot be, in the order in which QEMU comes across it.
    fn check(
        &self,
        header: &Header,
        backing: (Option<String>, Option<String>),
    ) -> Result<(), GraphError> {
        let version = self.version.unwrap_or(header.version);
        let order = self.refcount_order.unwrap_or(header.refcount_order);
        if order != header.refcount_order && version < 3 && order != 4 {
            return Err(invalid(
                "Refcount widths other than 16 bits require compatibility level 1.1 or above (use \
                 compat=1.1 or greater)",
            ));
        }
        let is_said = backing.0.is_some() || backing.1.is_some();
        if is_said && backing != (header.backing_file.clone(), header.backing_format.clone()) {
            return Err(GraphError::RefusedWithHint {
                message: "Cannot amend the backing file".to_owned(),
                hint: "You can use 'qemu-img rebase' instead.".to_owned(),
                errno: errno::EINVAL,
            });
        }
        let was_lazy = header.compatible.contains(Compatible::LAZY_REFCOUNTS);
        if self.lazy_refcounts == Some(true) && !was_lazy && version < 3 {
            return Err(invalid(
                "Lazy refcounts only supported with compatibility level 1.1 and above (use \
                 compat=1.1 or greater)",
            ));
        }
        if version < header.version {
            self.check_downgrade(header, order)?;
        }
        Ok(())
    }

    /// Refuses to make an image older that has what older ones have not.
    fn check_downgrade(&self, header: &Header, order: u32) -> Result<(), GraphError> {
        let not_supported = |message: String| Err(refused(errno::ENOTSUP, message));
        if order != 4 {
            return not_supported("compat=0.10 requires refcount_bits=16".to_owned());
        }
        if header.has_data_file() {
            return not_supported("Cannot downgrade an image with a data file".to_owned());
        }
        // An image that is dirty has been repaired when it was opened.
        let can_go = Incompatible::DIRTY | Incompatible::COMPRESSION;
        let others = header.incompatible - can_go;
        if !others.is_empty() {
            return not_supported(format!(
                "Cannot downgrade an image with incompatible features {:#x} set",
                others.bits()
            ));
        }
        Ok(())
    }
}

/// How far an amendment is, which has several phases that take time.
struct Phases<'t> {
    tell: Tell<'t>,
    done: u64,
    all: u64,
}

impl Phases<'_> {
    /// How far one of them is.
    fn tell(&self, done: u64, all: u64) {
        let per_phase = all.max(1);
        (self.tell)(self.done * per_phase + done, self.all * per_phase);
    }
}

impl Image {
    /// Changes what `to` says. Nothing may be in flight.
    ///
    /// # Errors
    /// In QEMU's words where something cannot be. Phases before that stay
    /// done.
    pub async fn amend(
        &self,
        request: Request<'_>,
        to: &Amendment,
        tell: Tell<'_>,
    ) -> Result<(), IoError> {
        self.check_sane()?;
        let (before, old_order) = {
            let header = &self.lock().header;
            (header.version, header.refcount_order)
        };
        let version = to.version.unwrap_or(before);
        let order = to.refcount_order.filter(|order| *order != old_order);
        if version < before {
            self.check_snapshots(to.size)?;
        }
        let mut phases = Phases {
            tell,
            done: 0,
            all: u64::from(version != before) + u64::from(order.is_some()),
        };
        if version > before {
            self.upgrade(request, version, &|done, all| phases.tell(done, all))
                .await?;
            phases.done += 1;
        }
        if let Some(order) = order {
            self.change_count_width(request, order, &|done, all| phases.tell(done, all))
                .await?;
            phases.done += 1;
        }
        if to.data_file.is_some() || to.data_file_raw.is_some() {
            self.change_data_file(request, to).await?;
        }
        if let Some(lazy) = to.lazy_refcounts {
            self.set_lazy(request, lazy).await?;
        }
        if let Some(length) = to.size {
            if i64::try_from(length).is_err() {
                let text = "Image size cannot be negative";
                return Err(IoError::refused(errno::EINVAL, text));
            }
            // The layer knows about backing images and about the node.
            request.truncate(length, true, Preallocation::Off).await?;
        }
        if version < before {
            self.downgrade(request, &|done, all| phases.tell(done, all))
                .await?;
        }
        Ok(())
    }

    /// Stores everything, changes the header and stores that.
    async fn change_header(
        &self,
        request: Request<'_>,
        change: impl FnOnce(&mut Header),
    ) -> Result<(), IoError> {
        let _turn = self.commits.enter(0..1, true).await;
        let changed = self.switch_header(request, Extent::Whole, Vec::new(), change);
        let text = "Failed to update the image header";
        changed.await.map_err(|error| {
            let reason = error.to_string();
            IoError::refused(error.errno(), format!("{text}: {reason}"))
        })
    }

    /// Refuses to make an image older whose snapshots need what is newer.
    fn check_snapshots(&self, size: Option<u64>) -> Result<(), IoError> {
        let size = size.unwrap_or(self.size());
        let state = self.lock();
        let needs_more = state.snapshots.iter().any(|snapshot| {
            snapshot.vm_state_size > u64::from(u32::MAX) || snapshot.disk_size != size
        });
        match needs_more {
            true => Err(IoError::refused(
                errno::ENOTSUP,
                "Internal snapshots prevent downgrade of image",
            )),
            false => Ok(()),
        }
    }

    /// Makes it an image of version 3. Zero flags are stored from its next
    /// opening on.
    async fn upgrade(
        &self,
        request: Request<'_>,
        version: u32,
        tell: Tell<'_>,
    ) -> Result<(), IoError> {
        tell(0, 2);
        let snapshots = self.lock().snapshots.clone();
        if !snapshots.is_empty() {
            // In an older image they need not say how large the disk was.
            self.replace_snapshots(request, snapshots, None).await?;
        }
        tell(1, 2);
        self.change_header(request, |header| header.version = version)
            .await?;
        tell(2, 2);
        Ok(())
    }

    async fn change_data_file(&self, request: Request<'_>, to: &Amendment) -> Result<(), IoError> {
        self.change_header(request, |header| {
            if let Some(raw) = to.data_file_raw {
                header.autoclear.set(Autoclear::RAW_DATA, raw);
            }
            if let Some(name) = &to.data_file {
                header.data_file = Some(name.clone()).filter(|name| !name.is_empty());
            }
        })
        .await
    }

    /// Makes it an image of version 2: without zero flags, features and
    /// bitmaps.
    async fn downgrade(&self, request: Request<'_>, tell: Tell<'_>) -> Result<(), IoError> {
        let is_zlib = self.lock().header.compression == Compression::Zlib;
        if !is_zlib && self.has_compressed(request).await? {
            return Err(IoError::refused(
                errno::ENOTSUP,
                "Cannot downgrade an image with zstd compression type and existing compressed \
                 clusters",
            ));
        }
        let expanded = self.expand_zeroes(request, tell).await;
        expanded.map_err(|error| {
            let text = format!("Failed to turn zero into data clusters: {error}");
            IoError::refused(error.errno(), text)
        })?;
        // There is no place for them in the older header.
        let names: Vec<String> = {
            let bitmaps = &self.lock().bitmaps;
            bitmaps.iter().map(|bitmap| bitmap.name.clone()).collect()
        };
        for name in names {
            self.remove_bitmap(request, &name).await?;
        }
        self.set_lazy(request, false).await?;
        self.without_zeroes
            .store(true, std::sync::atomic::Ordering::Release);
        self.change_header(request, |header| {
            header.version = 2;
            header.incompatible = Incompatible::empty();
            header.compatible = Compatible::empty();
            header.autoclear = Autoclear::empty();
            header.compression = Compression::Zlib;
            header.unknown_fields.clear();
        })
        .await
    }
}
