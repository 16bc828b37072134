//! The caches while an image is in use: other sizes, and memory that goes back.
//!
//! What requests look at without a lock is replaced in drained sections only:
//! by a reopen, when the image has got another length, and when memory of
//! slices goes back that nobody has asked for in a while. The last needs two
//! steps. First the places are emptied, which any thread may do; then, at a
//! moment when no request is under way, the main loop opens a section for as
//! long as it takes to drop what they had. Where there is no such moment for a
//! whole interval the section waits for the requests that are there, though
//! not for long: one of them may hang, and nobody else shall.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use block_common::error::errno;
use block_gs::{BqlGuard, Drained, GraphError, MainLoop, Node, ReopenCommit};
use block_io::aio::{sleep, sleep_until};
use block_io::{Activity, GraphCell, IoNode, Request};

use crate::cache::Slices;
use crate::commit::Goal;
use crate::driver::Qcow2;
use crate::format::header::Compatible;
use crate::image::Image;
use crate::options::Settings;
use crate::places::Places;

/// How often a quiet moment is looked for in one interval.
const LOOKS: u32 = 20;

/// How long others wait at most, in one interval, for requests to end that are
/// under way, so that memory can go back.
const PATIENCE: Duration = Duration::from_millis(100);

/// How often settings are made to suit an image that changes meanwhile. Who
/// changes it does so too.
const FITS: u32 = 4;

/// There is no memory.
const ENOMEM: i32 = 12;

/// How much of its metadata an image has in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cached {
    /// Slices of second-level tables there is room for.
    pub places: usize,
    /// How many of these have memory.
    pub slices: usize,
    /// How long a slice is, in bytes.
    pub slice_bytes: usize,
    /// Blocks of reference counts that are kept, at most.
    pub most_blocks: usize,
    /// How many there are.
    pub blocks: usize,
    /// How often it was looked for what nobody uses.
    pub cleanings: u64,
}

/// Places for slices, which hold nothing yet, and what is known of each.
pub(crate) struct Caches {
    pub slices: Slices,
    pub places: Places,
}

impl Caches {
    /// # Errors
    /// In QEMU's words when there is no memory for them.
    pub fn new(settings: &Settings) -> Result<Caches, GraphError> {
        let no_memory = |_| GraphError::Refused {
            message: "Could not allocate metadata caches".to_owned(),
            errno: ENOMEM,
        };
        let words = settings.slice_bytes / 8;
        let slices = Slices::new(settings.slices, words).map_err(no_memory)?;
        let places = Places::new(slices.len()).map_err(no_memory)?;
        Ok(Caches { slices, places })
    }

    /// As [`new`](Caches::new), unless the image has just these.
    pub async fn unless_there(
        image: &Image,
        request: Request<'_>,
        settings: &Settings,
    ) -> Result<Option<Caches>, GraphError> {
        let there = image.slices.get(request);
        let new = Caches::new(settings)?;
        let alike = there.len() == new.slices.len() && there.words() == new.slices.words();
        Ok((!alike).then_some(new))
    }

    /// Takes the place of what the image has, if there everything is stored.
    ///
    /// # Errors
    /// Itself, if not.
    pub fn replace(
        self,
        image: &Image,
        mut set: impl FnMut(&GraphCell<Slices>, Slices) -> Slices,
    ) -> Result<(), Caches> {
        let old = set(&image.slices, self.slices);
        let state = &mut *image.lock();
        if state.places.are_stored() {
            state.places = self.places;
            return Ok(());
        }
        Err(Caches {
            slices: set(&image.slices, old),
            places: self.places,
        })
    }

    /// As [`replace`](Caches::replace), in a reopen.
    pub fn commit(self, image: &Image, reopen: &mut ReopenCommit<'_>) -> Result<(), Caches> {
        self.replace(image, |cell, slices| reopen.set(cell, slices))
    }

    /// As [`replace`](Caches::replace), after everything has been stored.
    ///
    /// # Errors
    /// When that fails. The image keeps the caches it has.
    pub fn store_and_replace(
        self,
        image: &Image,
        section: &mut Drained<'_>,
    ) -> Result<(), GraphError> {
        if image.is_dirty() {
            section.io(async |request: Request<'_>| image.commit(request, Goal::Durable).await)?;
        }
        let left = self.replace(image, |cell, slices| section.set(cell, slices));
        // Whoever was faster has changed something again.
        left.map_err(|_| GraphError::Refused {
            message: "The caches are in use".to_owned(),
            errno: errno::EBUSY,
        })
    }
}

impl Image {
    /// How much is in memory.
    pub fn cached(&self, request: Request<'_>) -> Cached {
        let slices = self.slices.get(request);
        let state = self.lock();
        Cached {
            places: slices.len(),
            slices: slices.with_memory(),
            slice_bytes: slices.words() * 8,
            most_blocks: state.refs.capacity(),
            blocks: state.refs.blocks.len(),
            cleanings: state.cleanings,
        }
    }

    /// Lets go what nobody has used since this was last called, and says
    /// whether there is memory that can [go back](Image::give_back_memory).
    fn clean(&self, request: Request<'_>) -> bool {
        let slices = self.slices.get(request);
        let state = &mut *self.lock();
        state.cleanings += 1;
        state.refs.clean();
        let mut spare = false;
        for place in 0..slices.len() {
            let seen = slices.take_seen(place);
            if !seen && state.places.may_go(place) && slices.key(place).is_some() {
                slices.clear(place);
            }
            spare |= slices.is_spare(place);
        }
        spare
    }

    /// Drops the memory of places that hold nothing.
    fn give_back_memory(&self, section: &mut Drained<'_>) {
        // Nothing polls in between.
        let mut slices = section.set(&self.slices, Slices::none());
        slices.drop_spare();
        section.set(&self.slices, slices);
    }
}

impl Qcow2 {
    /// How much of the image's metadata is in memory.
    pub fn cached(&self, request: Request<'_>) -> Cached {
        self.image.cached(request)
    }

    /// Looks every now and then for what nobody uses, as often as the settings
    /// say, and no longer as often as they said before.
    pub(crate) fn start_cleaning(&self, bql: &BqlGuard, node: &Node) {
        let interval = Duration::from_secs(self.image.settings.lock().clean_interval);
        let cleaner = (!interval.is_zero()).then(|| {
            let cleaner = Cleaner {
                node: Arc::downgrade(node.io()),
                main: bql.main_loop(),
                interval,
            };
            bql.context().spawn(cleaner.run())
        });
        let before = std::mem::replace(&mut *self.cleaner.lock(), cleaner);
        if let Some(before) = before {
            before.cancel_async();
        }
    }

    /// No longer looks for what nobody uses.
    pub(crate) fn stop_cleaning(&self) {
        if let Some(cleaner) = self.cleaner.lock().take() {
            cleaner.cancel_async();
        }
    }

    /// The image has got another length: sizes of the caches that follow from
    /// it do so soon, and whether counts are lazy is what the user has said
    /// again, if anything, whatever an amendment has said since
    /// (`qcow2_update_options`).
    pub(crate) fn fit_caches(&self, node: &IoNode) {
        // What else is said has been found to go together.
        let Ok(wanted) = self.settings_now(false) else {
            return;
        };
        let is_as_wanted = {
            let settings = self.image.settings.lock();
            wanted.has_caches_of(&settings) && wanted.lazy_refcounts == settings.lazy_refcounts
        };
        if is_as_wanted || self.is_to_be_fitted.swap(true, Ordering::AcqRel) {
            return;
        }
        let name = node.name().to_owned();
        let uid = node.uid();
        self.main.schedule(move |bql| {
            let Some(node) = Node::find(bql, &name).filter(|node| node.io().uid() == uid) else {
                return;
            };
            // The caches that are there do as well, if more slowly.
            let _ = fit(&mut node.drain(bql));
        });
    }

    /// What follows from what the user has said, for the image as it is now.
    fn settings_now(&self, unmap: bool) -> Result<Settings, GraphError> {
        let image = &self.image;
        let says = image.lock().header.compatible;
        let lazy = says.contains(Compatible::LAZY_REFCOUNTS);
        let told = self.options.lock().clone();
        told.settle(&image.geometry_now(), image.size(), unmap, lazy)
    }
}

/// Gives an image the settings that suit its length.
fn fit(section: &mut Drained<'_>) -> Result<(), GraphError> {
    let node = section.node().clone();
    let Some(driver) = node.driver::<Qcow2>() else {
        return Ok(());
    };
    let image = &driver.image;
    driver.is_to_be_fitted.store(false, Ordering::Release);
    for _ in 0..FITS {
        let unmap = node.view(section).options().unmap;
        let settings = driver.settings_now(unmap)?;
        let is_written = node.view(section).is_writable();
        if is_written && !settings.lazy_refcounts && image.settings.lock().lazy_refcounts {
            section.io(async |request: Request<'_>| image.mark_clean(request).await)?;
        }
        let caches = section.io(async |request: Request<'_>| {
            Caches::unless_there(image, request, &settings).await
        })?;
        if let Some(caches) = caches {
            caches.store_and_replace(image, section)?;
        }
        // While this waited others may have said something else.
        let unmap = node.view(section).options().unmap;
        if driver.settings_now(unmap)? == settings {
            image.lock().refs.set_capacity(settings.blocks);
            *image.settings.lock() = settings;
            return Ok(());
        }
    }
    Ok(())
}

/// What looks for what nobody uses. It runs in the main loop, where sections
/// are opened, wherever the node is at home.
struct Cleaner {
    node: Weak<IoNode>,
    main: MainLoop,
    interval: Duration,
}

impl Cleaner {
    async fn run(self) {
        let mut spare = false;
        loop {
            let next = Instant::now() + self.interval;
            let pause = self.interval / LOOKS;
            while spare && Instant::now() + pause < next {
                sleep(pause).await;
                spare = !self.give_back(Duration::ZERO).await;
            }
            sleep_until(next).await;
            if spare {
                // If it comes to nothing, the memory is found again below.
                self.give_back(PATIENCE).await;
            }
            let Some(node) = self.node.upgrade() else {
                return;
            };
            // Not in a drained section.
            spare = match Activity::try_begin(&node) {
                Some(activity) => {
                    driver(&node).is_some_and(|driver| driver.image.clean(activity.request()))
                }
                None => false,
            };
            drop(node);
            spare = spare && !self.give_back(Duration::ZERO).await;
        }
    }

    /// Has memory given back, if requests wait for no longer than `limit` for
    /// that. Says whether there is nothing left to be done.
    async fn give_back(&self, limit: Duration) -> bool {
        let Some(node) = self.node.upgrade() else {
            return true;
        };
        let quiet = driver(&node).is_none_or(|driver| driver.image.grace.is_idle());
        if !quiet && limit.is_zero() {
            return false;
        }
        let (name, uid) = (node.name().to_owned(), node.uid());
        drop(node);
        let done = self.main.call(move |bql| {
            let node = Node::find(bql, &name).filter(|node| node.io().uid() == uid);
            let Some(node) = node else { return true };
            let Some(driver) = node.driver::<Qcow2>() else {
                return true;
            };
            let Some(mut section) = node.try_drain(bql, limit) else {
                return false;
            };
            driver.image.give_back_memory(&mut section);
            true
        });
        done.await.unwrap_or(true)
    }
}

fn driver(node: &IoNode) -> Option<&Qcow2> {
    let driver: &dyn Any = node.driver();
    driver.downcast_ref()
}
