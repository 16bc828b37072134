//! The graph of the tour: what is opened in the beginning, and what the
//! changes have made of it.
//!
//! ```text
//!    disk0 (io0)     disk1 (io1)     left     right       chain       image
//!      │               │              │         │           │           │
//!     raw             raw            raw       raw        qcow2        raw
//!      │               │        (first half) (second)    │      │       │
//!     file            file            └── file ──┘      file  qcow2    file
//!                                                               │
//!                                                              file
//! ```
//!
//! Each of these connected parts is a [`Group`]. Both iothreads send requests
//! to `left`, `right` and `chain` at once, so what is below serves both.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use block_drivers::{File, Raw};
use block_gs::{Backend, BqlGuard, GraphError, IoThread, Node, Perm};
use block_io::aio::Wait;

use super::chain::Chain;
use super::failure::SetupError;
use super::image::{self, Region, UserImage};
use super::load::{Contents, Target};
use super::options::Options;
use super::pattern::Pattern;

/// Copies of each image, one of which is below the graph.
const COPIES: usize = 3;

const MIB: u64 = 1 << 20;

/// All of the graph that the changes work on.
#[derive(Debug)]
pub struct World {
    /// The two iothreads that the load runs in.
    pub iothreads: [IoThread; 2],
    /// Those that the changes have made.
    pub extra_iothreads: Vec<IoThread>,
    /// The connected parts.
    pub groups: Vec<Group>,
    names: u64,
}

/// A connected part of the graph: one file, and what is above.
#[derive(Debug)]
pub struct Group {
    /// How the steps call it.
    pub name: String,
    /// The backends at the top.
    pub disks: Vec<Disk>,
    /// What is below them.
    pub below: Below,
    /// The node of the file that is written.
    pub file: Node,
    /// The filters that the changes have put somewhere in the group.
    pub filters: Vec<Node>,
    /// Whether its nodes are opened read-only.
    pub read_only: bool,
    /// Whether all of its tasks follow its backends from thread to thread.
    pub tasks_follow: bool,
}

/// What is below the backends of a group.
#[derive(Debug)]
pub enum Below {
    /// One of several raw files.
    Files(Files),
    /// Images that show each other.
    Chain(Chain),
}

/// Raw files, one of which is below the graph.
#[derive(Debug)]
pub struct Files {
    /// Those that can be, all with the same contents there.
    pub paths: Vec<PathBuf>,
    /// Which of them is.
    pub current: usize,
    /// The parts of the file that are written to, in bytes. They are copied
    /// when the file is replaced.
    pub written: Vec<Range<u64>>,
}

/// One backend of a group.
#[derive(Debug)]
pub struct Disk {
    /// The backend.
    pub backend: Backend,
    /// What its tasks see of it.
    pub target: Arc<Target>,
    /// The format node on its way down.
    pub format: Node,
    /// The part of the file that it shows, if not all.
    pub window: Option<(u64, u64)>,
    /// Where its contents are in the file; `None` for the user's image.
    pub region: Option<Region>,
}

/// What a group is made of.
struct Recipe<'a> {
    name: &'a str,
    paths: Vec<PathBuf>,
    disks: Vec<DiskRecipe<'a>>,
    home: &'a IoThread,
    read_only: bool,
    tasks_follow: bool,
}

/// What a disk is made of.
struct DiskRecipe<'a> {
    name: &'a str,
    window: Option<(u64, u64)>,
    region: Option<Region>,
    contents: Contents,
}

impl<'a> DiskRecipe<'a> {
    /// A disk with the tour's own contents.
    fn own(name: &'a str, window: Option<(u64, u64)>, region: &Region) -> Self {
        DiskRecipe {
            name,
            window,
            region: Some(region.clone()),
            contents: region.contents(),
        }
    }

    /// The part of the file that its tasks write.
    fn written(&self) -> Option<Range<u64>> {
        let region = self.region.as_ref()?;
        Some(region.at + region.lanes_at..region.at + region.length)
    }
}

impl World {
    /// Makes the files in `dir` and opens the graph over them.
    pub fn build(
        bql: &mut BqlGuard,
        options: &Options,
        dir: &Path,
        image: Option<&UserImage>,
    ) -> Result<World, SetupError> {
        let iothread = |bql: &mut BqlGuard, name| {
            IoThread::create(bql, name).map_err(|error| {
                SetupError::graph(format!("cannot start iothread '{name}'"), error)
            })
        };
        let iothreads = [iothread(bql, "io0")?, iothread(bql, "io1")?];
        let size = options.image_size * MIB;
        let mut groups = Vec::new();
        for (number, home) in iothreads.iter().enumerate() {
            let name = format!("disk{number}");
            let region = region(0, size, number as u64);
            groups.push(Group::open(
                bql,
                Recipe {
                    name: &name,
                    paths: copies(dir, &name, std::slice::from_ref(&region))?,
                    disks: vec![DiskRecipe::own(&name, None, &region)],
                    home,
                    read_only: false,
                    tasks_follow: true,
                },
            )?);
        }
        let halves = [region(0, size, 2), region(size, size, 3)];
        let [left, right] = &halves;
        groups.push(Group::open(
            bql,
            Recipe {
                name: "shared",
                paths: copies(dir, "shared", &halves)?,
                disks: vec![
                    DiskRecipe::own("left", Some((0, size)), left),
                    DiskRecipe::own("right", Some((size, size)), right),
                ],
                home: &iothreads[0],
                read_only: false,
                tasks_follow: false,
            },
        )?);
        groups.push(Group::chain_of(bql, dir, size, &iothreads[1])?);
        if let Some(image) = image {
            let contents = Contents::Image {
                pieces: image.pieces.clone(),
                writable: options.write_image,
            };
            groups.push(Group::open(
                bql,
                Recipe {
                    name: "image",
                    paths: vec![image.path.clone()],
                    disks: vec![DiskRecipe {
                        name: "image",
                        window: None,
                        region: None,
                        contents,
                    }],
                    home: &iothreads[1],
                    read_only: !options.write_image,
                    tasks_follow: true,
                },
            )?);
        }
        Ok(World {
            iothreads,
            extra_iothreads: Vec::new(),
            groups,
            names: 0,
        })
    }

    /// A node name that has not been used.
    pub fn fresh_name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}-{}", self.names)
    }

    /// Every backend with the number of its group.
    pub fn disks(&self) -> impl Iterator<Item = (&Group, &Disk)> {
        let groups = self.groups.iter();
        groups.flat_map(|group| group.disks.iter().map(move |disk| (group, disk)))
    }
}

impl Region {
    fn contents(&self) -> Contents {
        Contents::Pattern {
            pattern: self.pattern,
            lanes_at: self.lanes_at,
        }
    }
}

/// A quarter of it is never written.
fn region(at: u64, length: u64, disk: u64) -> Region {
    Region {
        at,
        length,
        lanes_at: length / 4,
        pattern: Pattern::new(disk),
    }
}

fn copies(dir: &Path, name: &str, regions: &[Region]) -> Result<Vec<PathBuf>, SetupError> {
    let paths = (0..COPIES).map(|copy| dir.join(format!("{name}-{copy}.raw")));
    let paths: Vec<PathBuf> = paths.collect();
    for (copy, path) in paths.iter().enumerate() {
        image::create(path, regions, copy == 0)?;
    }
    Ok(paths)
}

impl Group {
    fn open(bql: &mut BqlGuard, recipe: Recipe<'_>) -> Result<Group, SetupError> {
        let Recipe {
            name,
            paths,
            disks,
            home,
            read_only,
            tasks_follow,
        } = recipe;
        let complain =
            |error: GraphError| SetupError::graph(format!("cannot open '{name}'"), error);
        let file = File::at(&paths[0])
            .read_only(read_only)
            .open(bql, &format!("{name}-file"))
            .map_err(complain)?;
        let mut group = Group {
            name: name.to_owned(),
            disks: Vec::new(),
            below: Below::Files(Files {
                paths,
                current: 0,
                written: disks.iter().filter_map(DiskRecipe::written).collect(),
            }),
            file,
            filters: Vec::new(),
            read_only,
            tasks_follow,
        };
        for disk in disks {
            let DiskRecipe {
                name,
                window,
                region,
                contents,
            } = disk;
            let format = format!("{name}-raw");
            let file = group.file.clone();
            let format = open_format(bql, &format, &file, window, read_only).map_err(complain)?;
            let disk = Disk::open(bql, name, format, contents, read_only).map_err(complain)?;
            group.disks.push(Disk {
                window,
                region,
                ..disk
            });
        }
        let moved = group.movable(bql, |bql| group.file.set_iothread(bql, Some(home)));
        moved.map_err(complain)?;
        Ok(group)
    }

    /// The group whose contents are in a chain of images.
    fn chain_of(
        bql: &mut BqlGuard,
        dir: &Path,
        size: u64,
        home: &IoThread,
    ) -> Result<Group, SetupError> {
        let complain = |error: GraphError| SetupError::graph("cannot open 'chain'", error);
        let region = region(0, size, 4);
        let chain = Chain::build(bql, dir.to_owned(), &region)?;
        let (node, file) = (chain.active().node.clone(), chain.active().file.clone());
        let disk = Disk::open(bql, "chain", node, region.contents(), false).map_err(complain)?;
        let moved = disk.backend.set_iothread(bql, Some(home));
        moved.map_err(complain)?;
        Ok(Group {
            name: "chain".to_owned(),
            disks: vec![Disk {
                region: Some(region),
                ..disk
            }],
            below: Below::Chain(chain),
            file,
            filters: Vec::new(),
            read_only: false,
            tasks_follow: false,
        })
    }

    /// Does `f` while the group may be moved by anybody. Otherwise it stays in
    /// its thread, as that of a device does: else whoever lets go of a node
    /// would take it to the main loop.
    pub fn movable<R>(&self, bql: &mut BqlGuard, f: impl FnOnce(&mut BqlGuard) -> R) -> R {
        // What was let go before is gone before.
        bql.poll(Wait::No);
        let allow = |bql: &mut BqlGuard, allow| {
            for disk in &self.disks {
                disk.backend.set_allow_context_change(bql, allow);
            }
        };
        allow(bql, true);
        let done = f(bql);
        allow(bql, false);
        done
    }

    /// The raw files below, if that is what is.
    pub fn files(&self) -> Option<&Files> {
        match &self.below {
            Below::Files(files) => Some(files),
            Below::Chain(_) => None,
        }
    }

    /// The images below, if they are a chain.
    pub fn chain(&self) -> Option<&Chain> {
        match &self.below {
            Below::Files(_) => None,
            Below::Chain(chain) => Some(chain),
        }
    }

    /// The same, to be changed.
    pub fn chain_mut(&mut self) -> Option<&mut Chain> {
        match &mut self.below {
            Below::Files(_) => None,
            Below::Chain(chain) => Some(chain),
        }
    }

    /// A raw file that could be below and is not; none for images that are not
    /// written.
    pub fn other_path(&self) -> Option<PathBuf> {
        let files = self.files().filter(|_| !self.read_only)?;
        let next = (files.current + 1) % files.paths.len();
        files.paths.get(next).cloned()
    }

    /// The nodes with contents: formats, images and files, but no filters.
    pub fn nodes(&self) -> Vec<Node> {
        let formats = self.disks.iter().map(|disk| &disk.format);
        let mut nodes: Vec<Node> = formats.chain([&self.file]).cloned().collect();
        for node in self.chain().into_iter().flat_map(Chain::nodes) {
            if !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        nodes
    }

    /// Opens the file at `path` as another candidate for the bottom.
    pub fn open_file(
        &self,
        bql: &mut BqlGuard,
        path: &Path,
        name: &str,
    ) -> Result<Node, GraphError> {
        File::at(path).read_only(self.read_only).open(bql, name)
    }
}

impl Disk {
    /// A backend over a node.
    fn open(
        bql: &mut BqlGuard,
        name: &str,
        format: Node,
        contents: Contents,
        read_only: bool,
    ) -> Result<Disk, GraphError> {
        let backend = open_backend(bql, name, &format, read_only)?;
        Ok(Disk {
            target: Arc::new(Target {
                root: backend.root().clone(),
                active: Default::default(),
                contents,
            }),
            backend,
            format,
            window: None,
            region: None,
        })
    }
}

/// Opens a format node of a disk.
pub fn open_format(
    bql: &mut BqlGuard,
    name: &str,
    file: &Node,
    window: Option<(u64, u64)>,
    read_only: bool,
) -> Result<Node, GraphError> {
    let mut raw = Raw::over(file).read_only(read_only);
    if let Some((offset, size)) = window {
        raw = raw.offset(offset).size(Some(size));
    }
    raw.open(bql, name)
}

/// What the backends of the tour do: they do not resize, and mind nothing.
fn open_backend(
    bql: &mut BqlGuard,
    name: &str,
    node: &Node,
    read_only: bool,
) -> Result<Backend, GraphError> {
    let perm = if read_only {
        Perm::CONSISTENT_READ
    } else {
        Perm::CONSISTENT_READ | Perm::WRITE
    };
    let backend = Backend::new(bql, name, perm, Perm::all())?;
    backend.insert(bql, node)?;
    Ok(backend)
}
