//! What is done with images once, by a process of its own.

use std::process::ExitCode;

use block_gs::BlockLayer;
use block_open::{ImageSpec, OpenError, Options};
use clap::Args;

use crate::error::Failure;

/// As `qemu-img create -f qcow2`.
#[derive(Args, Clone, Debug)]
pub struct Create {
    /// Its name
    image: String,
    /// Its size in bytes
    size: u64,
}

impl Create {
    /// Makes it.
    pub fn run(&self) -> Result<(), Failure> {
        BlockLayer::new()?.enter(|bql| {
            let spec = ImageSpec::new(&self.image, "qcow2").size(self.size);
            Ok(spec.plan(bql)?.create_now(bql)?)
        })
    }
}

/// As `quiesce img`.
#[derive(Args, Clone, Debug)]
pub struct Img {
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Img {
    /// Does it.
    pub fn run(&self) -> Result<(), Failure> {
        match block_tools::img::main("qemu-img", &self.arguments) == ExitCode::SUCCESS {
            true => Ok(()),
            false => Err(Failure::Usage("it has failed")),
        }
    }
}

/// As `qemu-img info --backing-chain`, without printing most of it.
#[derive(Args, Clone, Debug)]
pub struct Open {
    /// Options of the topmost node
    node: String,
}

impl Open {
    /// Opens the chain and asks for everything.
    pub fn run(&self) -> Result<(), Failure> {
        BlockLayer::new()?.enter(|bql| {
            let mut options = Options::parse(&self.node).map_err(OpenError::from)?;
            options.set_default("read-only", true);
            let top = block_open::open(bql, options)?;
            for info in top.view(bql).chain_info(bql) {
                println!("{} {}", info.filename, info.length);
            }
            Ok(())
        })
    }
}
