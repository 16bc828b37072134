//! Changing what an image says about itself.

use std::sync::atomic::Ordering;

use block_common::error::errno;
use block_common::{GraphError, Value};
use block_io::{BackingName, Buffer, IoError, Preallocation, Request, Truncation};

use crate::commit::Goal;
use crate::format::entry::Kind;
use crate::format::header::{Autoclear, Compatible, Header, Incompatible};
use crate::image::Image;
use crate::zero::Become;

/// What is to be changed; `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Amendment {
    version: Option<u32>,
    size: Option<u64>,
    lazy_refcounts: Option<bool>,
    backing_file: Option<String>,
    backing_format: Option<String>,
    data_file_raw: Option<bool>,
}

fn refused(message: impl Into<String>) -> GraphError {
    GraphError::Refused {
        message: message.into(),
        errno: errno::EINVAL,
    }
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
        _ => Err(refused(format!("Parameter '{key}' expects 'on' or 'off'"))),
    }
}

impl Amendment {
    /// Reads options as `qemu-img amend -o` has them.
    pub fn parse(options: &Value, header: &Header) -> Result<Amendment, GraphError> {
        let mut amendment = Amendment::default();
        let Value::Map(entries) = options else {
            return Ok(amendment);
        };
        for (key, value) in entries {
            let said = text(value).ok_or_else(|| refused(format!("Invalid parameter '{key}'")))?;
            let number = || {
                let number = said.parse::<u64>();
                number.map_err(|_| refused(format!("Parameter '{key}' expects a number")))
            };
            match key.as_str() {
                "compat" => {
                    amendment.version = match said.as_str() {
                        "0.10" | "v2" => Some(2),
                        "1.1" | "v3" => Some(3),
                        _ => return Err(refused(format!("Unknown compatibility level {said}"))),
                    };
                }
                "size" => amendment.size = Some(number()?),
                "lazy_refcounts" => amendment.lazy_refcounts = Some(switch(key, &said)?),
                "backing_file" => amendment.backing_file = Some(said),
                "backing_fmt" => amendment.backing_format = Some(said),
                "data_file_raw" => amendment.data_file_raw = Some(switch(key, &said)?),
                "refcount_bits" => {
                    if number()? != 1 << header.refcount_order {
                        return Err(GraphError::Refused {
                            message: "Changing the refcount width is not supported".into(),
                            errno: errno::ENOTSUP,
                        });
                    }
                }
                _ => return Err(refused(format!("Invalid parameter '{key}'"))),
            }
        }
        amendment.check(header)?;
        Ok(amendment)
    }

    fn check(&self, header: &Header) -> Result<(), GraphError> {
        let version = self.version.unwrap_or(header.version);
        if self.lazy_refcounts.unwrap_or(false) && version < 3 {
            return Err(refused(
                "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or \
                 greater)",
            ));
        }
        if version < header.version {
            if header.refcount_order != 4 {
                return Err(refused("compat=0.10 requires refcount_bits=16"));
            }
            if header.has_data_file() {
                return Err(refused("Cannot downgrade an image with a data file"));
            }
            let others = header.incompatible - Incompatible::DIRTY;
            if !others.is_empty() {
                return Err(GraphError::Refused {
                    message: "Cannot downgrade an image with incompatible features set".into(),
                    errno: errno::ENOTSUP,
                });
            }
            if header.snapshot_count > 0 {
                return Err(GraphError::Refused {
                    message: "Cannot downgrade an image with snapshots".into(),
                    errno: errno::ENOTSUP,
                });
            }
        }
        if self.data_file_raw == Some(true) && !header.has_raw_data() {
            return Err(refused("data-file-raw cannot be set on existing images"));
        }
        Ok(())
    }
}

impl Image {
    /// Changes what `to` says.
    pub async fn amend(&self, request: Request<'_>, to: &Amendment) -> Result<(), IoError> {
        self.check_sane()?;
        let before = self.lock().header.version;
        let version = to.version.unwrap_or(before);
        if version > before {
            self.lock().header.version = version;
            self.rewrite(request).await?;
        }
        let other_backing = {
            let header = &self.lock().header;
            let file = to
                .backing_file
                .clone()
                .or_else(|| header.backing_file.clone());
            let format = to
                .backing_format
                .clone()
                .or_else(|| header.backing_format.clone());
            let is_said = to.backing_file.is_some() || to.backing_format.is_some();
            is_said.then_some((file, format))
        };
        if let Some((file, format)) = other_backing {
            let name = file.as_deref().filter(|name| !name.is_empty());
            let name = name.map(|file| BackingName {
                file,
                format: format.as_deref(),
            });
            self.change_backing_file(request, name).await?;
        }
        if let Some(raw) = to.data_file_raw {
            self.lock().header.autoclear.set(Autoclear::RAW_DATA, raw);
            self.rewrite(request).await?;
        }
        if let Some(lazy) = to.lazy_refcounts {
            let header = &mut self.lock().header;
            header.compatible.set(Compatible::LAZY_REFCOUNTS, lazy);
        }
        if to.lazy_refcounts.is_some() {
            self.rewrite(request).await?;
        }
        if let Some(length) = to.size {
            let to = Truncation {
                length,
                exact: true,
                preallocation: Preallocation::Off,
                zeroes: false,
            };
            self.truncate(request, to).await?;
        }
        if version < before {
            self.downgrade(request).await?;
        }
        Ok(())
    }

    async fn rewrite(&self, request: Request<'_>) -> Result<(), IoError> {
        let _turn = self.commits.enter(0..1, true).await;
        self.write_header(request).await?;
        request.file()?.flush().await
    }

    /// Makes it an image of version 2: without zero flags and features.
    async fn downgrade(&self, request: Request<'_>) -> Result<(), IoError> {
        self.without_zeroes.store(true, Ordering::Release);
        let has_backing = request.backing().is_ok();
        let size = self.geometry.cluster_size();
        let end = self.size().next_multiple_of(size);
        let mut at = 0;
        while at < end {
            let run = self.map(request, at, (end - at).min(1 << 20)).await?;
            let range = at..at + run.bytes;
            match run.kind {
                Kind::Zero | Kind::ZeroStored if has_backing => {
                    let zeroes = Buffer::zeroed(run.bytes as usize);
                    self.write_runs(request, at, zeroes.source()).await?;
                }
                Kind::Zero | Kind::ZeroStored => {
                    let whole = self.clusters_around(&range);
                    self.convert(request, whole, Become::Nothing).await?;
                }
                _ => {}
            }
            at = range.end;
        }
        self.commit(request, Goal::Durable).await?;
        {
            let header = &mut self.lock().header;
            header.version = 2;
            header.incompatible = Incompatible::empty();
            header.compatible = Compatible::empty();
            header.autoclear = Autoclear::empty();
            header.bitmaps = None;
            header.unknown_fields.clear();
        }
        self.rewrite(request).await
    }
}
