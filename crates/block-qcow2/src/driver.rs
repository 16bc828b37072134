//! What the block layer asks of an image.

use std::any::Any;
use std::sync::atomic::AtomicBool;

use block_common::error::errno;
use block_common::sync::Mutex;
use block_common::{BlockLimits, Value};
use block_gs::{
    BlockDriver, BqlGuard, Drained, GraphError, HeaderBacking, MainLoop, Measurement, Node,
    NodeView, PreparedReopen, ReopenTo, Snapshots,
};
use block_io::aio::JoinHandle;
use block_io::dirty::StoredBitmap;
use block_io::{
    AmendReady, BackingName, BlockStatus, Capabilities, CheckResult, Destination, DriverInfo,
    DriverIo, Findings, IoError, IoFuture, Repairs, Request, Source, Truncation, WriteFlags,
};

use crate::amend::Amendment;
use crate::create::CreateOptions;
use crate::format::bitmap::{BitmapEntry, BitmapFlags};
use crate::format::header::Incompatible;
use crate::image::Image;
use crate::manage::Reload;
use crate::open::come_to_life;
use crate::options::Qcow2Options;

/// An image in qcow2 format, over a file.
#[derive(Debug)]
pub struct Qcow2 {
    pub(crate) image: Image,
    /// What the user has said.
    pub(crate) options: Mutex<Qcow2Options>,
    /// Who replaces what only a drained section may.
    pub(crate) main: MainLoop,
    /// They are going to replace the caches: there is another length.
    pub(crate) is_to_be_fitted: AtomicBool,
    /// Looks for what nobody uses.
    pub(crate) cleaner: Mutex<Option<JoinHandle<()>>>,
}

impl DriverIo for Qcow2 {
    fn capabilities(&self) -> Capabilities {
        let zero = WriteFlags::MAY_UNMAP | WriteFlags::NO_FALLBACK | WriteFlags::UNCHANGED;
        Capabilities {
            write_flags: WriteFlags::COMPRESSED | WriteFlags::UNCHANGED,
            zero_flags: Some(zero),
            discards: true,
            truncates_to_zeroes: true,
            ..Capabilities::default()
        }
    }

    fn read<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        self.image.read(request, offset, into)
    }

    fn write<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        from: Source<'r>,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        self.image.write(request, offset, from, flags)
    }

    fn write_zeroes<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        flags: WriteFlags,
    ) -> IoFuture<'r> {
        IoFuture::new(async move { self.image.write_zeroes(request, offset, bytes, flags).await })
    }

    fn discard<'r>(&'r self, request: Request<'r>, offset: u64, bytes: u64) -> IoFuture<'r> {
        IoFuture::new(async move { self.image.discard(request, offset, bytes).await })
    }

    fn block_status<'r>(
        &'r self,
        request: Request<'r>,
        offset: u64,
        bytes: u64,
        precise: bool,
    ) -> IoFuture<'r, BlockStatus<'r>> {
        self.image.block_status(request, offset, bytes, precise)
    }

    fn truncate<'r>(&'r self, request: Request<'r>, to: Truncation) -> IoFuture<'r> {
        IoFuture::new(async move {
            self.image.truncate(request, to).await?;
            self.fit_caches(request.node());
            Ok(())
        })
    }

    fn check<'r>(
        &'r self,
        request: Request<'r>,
        repairs: Repairs,
        findings: &'r dyn Findings,
    ) -> IoFuture<'r, CheckResult> {
        IoFuture::new(async move { self.image.check(request, repairs, findings).await })
    }

    fn amend<'r>(&'r self, request: Request<'r>, ready: &'r AmendReady) -> IoFuture<'r> {
        let Some(amendment) = ready.kept::<Amendment>() else {
            let text = "The amendment was prepared for another driver";
            return IoFuture::failed(IoError::refused(errno::EINVAL, text));
        };
        IoFuture::new(async move {
            self.image
                .amend(request, amendment, &|done, all| ready.tell(done, all))
                .await
        })
    }

    fn can_store_bitmap<'r>(
        &'r self,
        _request: Request<'r>,
        name: &'r str,
        granularity: u32,
    ) -> IoFuture<'r> {
        IoFuture::ready(self.image.can_store_bitmap(name, granularity))
    }

    fn remove_stored_bitmap<'r>(&'r self, request: Request<'r>, name: &'r str) -> IoFuture<'r> {
        IoFuture::new(async move { self.image.remove_bitmap(request, name).await })
    }

    fn store_bitmaps<'r>(
        &'r self,
        request: Request<'r>,
        bitmaps: &'r [StoredBitmap],
    ) -> IoFuture<'r> {
        IoFuture::new(async move { self.image.store_bitmaps(request, bitmaps).await })
    }

    fn change_backing_file<'r>(
        &'r self,
        request: Request<'r>,
        to: Option<BackingName<'r>>,
    ) -> IoFuture<'r> {
        IoFuture::new(async move { self.image.change_backing_file(request, to).await })
    }

    fn invalidate_cache<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        // The node itself has changed nothing that is not stored unless it is
        // being written.
        IoFuture::new(async move {
            let is_ahead = self.image.is_dirty() || self.image.lock().is_behind;
            if request.node().is_writable() && is_ahead {
                return Ok(());
            }
            let lazy = self.options.lock().lazy_refcounts;
            let reloaded = self.image.reload(request, Reload::Foreign { lazy }).await;
            reloaded.map_err(|error| {
                let text = format!("Could not reopen qcow2 layer: {error}");
                IoError::refused(error.errno(), text)
            })?;
            self.fit_caches(request.node());
            Ok(())
        })
    }

    fn save_vmstate<'r>(
        &'r self,
        request: Request<'r>,
        position: u64,
        from: Source<'r>,
    ) -> IoFuture<'r> {
        IoFuture::new(async move { self.image.save_vmstate(request, position, from).await })
    }

    fn load_vmstate<'r>(
        &'r self,
        request: Request<'r>,
        position: u64,
        into: Destination<'r>,
    ) -> IoFuture<'r> {
        IoFuture::new(async move { self.image.load_vmstate(request, position, into).await })
    }

    fn flush<'r>(&'r self, request: Request<'r>) -> IoFuture<'r> {
        self.image.flush(request)
    }

    fn length<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, u64> {
        IoFuture::ready(Ok(self.image.size()))
    }

    fn info<'r>(&'r self, _request: Request<'r>) -> IoFuture<'r, DriverInfo> {
        let geometry = &self.image.geometry;
        let header = &self.image.lock().header;
        IoFuture::ready(Ok(DriverInfo {
            cluster_size: geometry.cluster_size() as u32,
            subcluster_size: geometry.subcluster_size() as u32,
            vm_state_offset: self.image.vm_state_offset(),
            is_dirty: header.incompatible.contains(Incompatible::DIRTY),
            needs_compressed_writes: false,
        }))
    }
}

impl BlockDriver for Qcow2 {
    fn format_name(&self) -> &'static str {
        "qcow2"
    }

    fn supports_backing(&self) -> bool {
        true
    }

    fn refresh_limits(&self, _bql: &BqlGuard, limits: &mut BlockLimits) -> Result<(), GraphError> {
        let geometry = &self.image.geometry;
        limits.zero_alignment = geometry.subcluster_size() as u32;
        limits.discard_alignment = geometry.cluster_size() as u32;
        limits.cluster_size = geometry.cluster_size() as u32;
        Ok(())
    }

    fn header_backing(&self, _bql: &BqlGuard) -> Option<HeaderBacking> {
        let header = &self.image.lock().header;
        let file = header.backing_file.clone()?;
        Some(HeaderBacking {
            file,
            format: header.backing_format.clone(),
        })
    }

    /// What the header says beyond what every image has.
    fn specific_info(&self, _bql: &BqlGuard) -> Option<Value> {
        let state = self.image.lock();
        let header = &state.header;
        let mut data = Vec::new();
        let mut say = |key: &str, value: Value| data.push((key.to_owned(), value));
        let compat = if header.version < 3 { "0.10" } else { "1.1" };
        say("compat", compat.into());
        say("compression-type", header.compression.name().into());
        if header.version >= 3 {
            let lazy = crate::format::header::Compatible::LAZY_REFCOUNTS;
            say(
                "lazy-refcounts",
                Value::Bool(header.compatible.contains(lazy)),
            );
        }
        say("refcount-bits", (1u64 << header.refcount_order).into());
        if header.version >= 3 {
            let corrupt = header.incompatible.contains(Incompatible::CORRUPT);
            say("corrupt", Value::Bool(corrupt));
            say("extended-l2", Value::Bool(header.has_subclusters()));
        }
        if let Some(name) = &header.data_file {
            say("data-file", name.as_str().into());
        }
        if header.has_data_file() {
            say("data-file-raw", Value::Bool(header.has_raw_data()));
        }
        if !state.bitmaps.is_empty() {
            let all = state.bitmaps.iter().map(bitmap_info).collect();
            say("bitmaps", Value::List(all));
        }
        Some(Value::map([
            ("type", "qcow2".into()),
            ("data", Value::Map(data)),
        ]))
    }

    /// A new image reads as zeroes, unless its data file might not.
    fn has_zero_init(&self, bql: &BqlGuard, node: NodeView<'_>) -> Option<bool> {
        match node.child("data-file") {
            Some(data) => Some(data.child().has_zero_init(bql)),
            None => Some(true),
        }
    }

    /// What another image like this would take.
    fn measure(
        &self,
        _bql: &BqlGuard,
        length: u64,
        input: Option<NodeView<'_>>,
    ) -> Result<Measurement, GraphError> {
        let geometry = &self.image.geometry;
        let mut options = CreateOptions::new(input.map_or(length, NodeView::length));
        options.cluster_size = geometry.cluster_size();
        options.extended_l2 = geometry.has_subclusters();
        Ok(options.measure(0)?)
    }

    fn close(&self, _bql: &mut BqlGuard) {
        self.stop_cleaning();
    }

    /// Everything is stored, and the bitmaps are let go.
    fn inactivate(&self, section: &mut Drained<'_>) -> Result<(), GraphError> {
        let image = &self.image;
        if !section.node().view(section).is_writable() {
            section.release_stored_bitmaps();
            return Ok(());
        }
        section.io(async |request: Request<'_>| image.mark_clean(request).await)?;
        section.release_stored_bitmaps();
        Ok(())
    }

    fn activated(&self, section: &mut Drained<'_>) -> Result<(), GraphError> {
        come_to_life(section, false)
    }

    fn make_empty(&self, section: &mut Drained<'_>) -> Result<(), GraphError> {
        let image = &self.image;
        Ok(section.io(async |request: Request<'_>| image.make_empty(request).await)?)
    }

    fn supports_persistent_bitmaps(&self) -> bool {
        self.image.lock().header.version >= 3
    }

    fn reopens(&self) -> bool {
        true
    }

    fn reopen_prepare(
        &self,
        section: &mut Drained<'_>,
        to: &ReopenTo<'_>,
    ) -> Result<Box<dyn PreparedReopen>, GraphError> {
        self.prepare(section, to)
    }

    fn amend_pre_run(
        &self,
        _bql: &mut BqlGuard,
        _node: &Node,
        options: &Value,
        _force: bool,
    ) -> Result<Box<dyn Any + Send + Sync>, GraphError> {
        let header = self.image.lock().header.clone();
        Ok(Box::new(Amendment::parse(options, &header)?))
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }
}

/// What is said of a stored bitmap (`Qcow2BitmapInfo`).
fn bitmap_info(entry: &BitmapEntry) -> Value {
    let known = [(BitmapFlags::IN_USE, "in-use"), (BitmapFlags::AUTO, "auto")];
    let flags = known.iter().filter(|(flag, _)| entry.flags.contains(*flag));
    Value::map([
        (
            "flags",
            Value::List(flags.map(|(_, name)| (*name).into()).collect()),
        ),
        ("name", entry.name.as_str().into()),
        ("granularity", (1u64 << entry.granularity_bits).into()),
    ])
}
