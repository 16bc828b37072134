//! Taking nodes out of a chain, with the headers that name them.

use block_common::GraphError;
use block_io::BackingName;

use crate::{BqlGuard, Drained, EdgeView, HeaderBacking, Node};

/// Overlays whose headers name another backing image than before. Unless
/// kept, dropping it makes them say again what they said.
struct Renamed<'s, 'd> {
    section: &'s mut Drained<'d>,
    overlays: Vec<(Node, Option<HeaderBacking>)>,
}

impl Renamed<'_, '_> {
    fn rename(&mut self, overlay: &Node, to: &HeaderBacking) -> Result<(), GraphError> {
        let before = overlay.view(self.section).header_backing(self.section);
        write_header(self.section, overlay, Some(to)).map_err(|error| GraphError::Refused {
            message: format!("Could not update backing file link: {error}"),
            errno: error.errno(),
        })?;
        self.overlays.push((overlay.clone(), before));
        Ok(())
    }

    /// The next overlay of `top` whose header is still as it was.
    fn next(&self, top: &Node) -> Option<Node> {
        let bql: &BqlGuard = self.section;
        let parents = top.view(bql).parents().filter_map(EdgeView::parent_node);
        let mut overlays = parents.filter(|parent| {
            let below = parent.cow_child().map(EdgeView::child);
            below == Some(top.view(bql))
        });
        let done = |node: &Node| self.overlays.iter().any(|(known, _)| known == node);
        overlays
            .find(|overlay| !done(&overlay.node(bql)))
            .map(|overlay| overlay.node(bql))
    }
}

impl Drop for Renamed<'_, '_> {
    fn drop(&mut self) {
        // A driver that has panicked is left alone.
        if std::thread::panicking() {
            return;
        }
        for (overlay, before) in std::mem::take(&mut self.overlays) {
            // What fails now comes after a failure that is being told.
            let _ = write_header(self.section, &overlay, before.as_ref());
        }
    }
}

fn write_header(
    section: &mut Drained<'_>,
    overlay: &Node,
    to: Option<&HeaderBacking>,
) -> Result<(), GraphError> {
    let mut section = section.also(overlay);
    section.io(async |request| {
        let to = to.map(|to| BackingName {
            file: &to.file,
            format: to.format.as_deref(),
        });
        request.change_backing_file(to).await
    })?;
    Ok(())
}

impl Drained<'_> {
    /// Takes this node and what is between it and `base`, further down its
    /// chain, out of the chain (`bdrv_drop_intermediate`). Every parent goes
    /// to `base`; the headers of overlays are made to name it as
    /// `backing_file`, or if that is `None` by its own
    /// [file name](crate::NodeView::filename).
    ///
    /// The headers come first, in the section: nobody reads through the old
    /// graph with the new names. If one of them cannot be written or the graph
    /// refuses, those that were written are written back. (QEMU leaves them.)
    ///
    /// # Errors
    /// [`GraphError::NotInChain`]; [`GraphError::Refused`] when a header
    /// cannot be written, also because the overlay is read-only; those of
    /// [`Transaction::commit`](crate::Transaction::commit).
    pub fn drop_intermediate(
        &mut self,
        base: &Node,
        backing_file: Option<&str>,
    ) -> Result<(), GraphError> {
        let top = self.node().clone();
        top.view(self).check_chain_contains(base)?;
        if top == *base {
            return Ok(());
        }
        let below = base.view(self);
        let name = HeaderBacking {
            file: backing_file.map_or_else(|| below.filename(self), str::to_owned),
            format: Some(below.driver().format_name().to_owned()),
        };
        let mut renamed = Renamed {
            section: self,
            overlays: Vec::new(),
        };
        // Writing polls, and what runs meanwhile may bring another overlay.
        while let Some(overlay) = renamed.next(&top) {
            renamed.rename(&overlay, &name)?;
        }
        let mut change = renamed.section.transaction();
        change.drop_intermediate(base);
        change.commit()?;
        renamed.overlays.clear();
        Ok(())
    }
}
