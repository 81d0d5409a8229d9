//! What a plan asks of package sources: the requests of the lock that it needs.

use std::collections::BTreeSet;

use mos_config::{
    AlpinePlan, Authorities, Base, Distribution, ImagePlan, InitramfsPlace, KernelOrigin, LockedRequest, Plan,
};

use crate::alpine;
use crate::builder::Builder;
use crate::error::BuildError;
use crate::packages::{AUTHORITIES_PACKAGE, STUB_PACKAGE};

/// Of whom, and which packages.
type Request = (String, BTreeSet<String>);

/// The requests that [`lock_packages`](crate::lock_packages) makes for some plans.
#[derive(Debug, Default)]
pub struct Asked(BTreeSet<Request>);

impl Asked {
    /// Those of these plans.
    ///
    /// # Errors
    /// [`BuildError::Io`]: a miniroot cannot be read.
    pub fn by<'p>(builder: &Builder<'_>, plans: impl IntoIterator<Item = &'p Plan>) -> Result<Self, BuildError> {
        let mut asked = Self::default();
        for plan in plans {
            asked.add_base(builder, &plan.image)?;
            asked.add_boot(&plan.image);
        }
        Ok(asked)
    }

    /// Whether one of the plans makes this request.
    pub fn contains(&self, request: &LockedRequest) -> bool {
        let wanted = request.wanted.iter().cloned().collect();
        self.0.contains(&(request.from.clone(), wanted))
    }

    /// The root file system, and the authorities in it.
    fn add_base(&mut self, builder: &Builder<'_>, image: &ImagePlan) -> Result<(), BuildError> {
        let packages = image.packages.iter().cloned().collect();
        match (image.base, &image.alpine) {
            (Base::Debian, _) => self.add(String::new(), packages),
            (Base::Alpine, Some(plan)) => self.add(alpine::base_reference(builder, plan)?, packages),
            (Base::Alpine, None) | (Base::Empty, _) => {}
        }
        if image.authorities == Authorities::Debian {
            self.add_debian(AUTHORITIES_PACKAGE);
        }
        Ok(())
    }

    /// Kernel, stub and firmware.
    fn add_boot(&mut self, image: &ImagePlan) {
        let alpine = image.alpine.as_ref();
        match image.kernel_source.as_ref().map(|source| &source.origin) {
            Some(KernelOrigin::Package(name)) => self.add_debian(name),
            Some(KernelOrigin::Archive { .. } | KernelOrigin::Git { .. }) => {}
            None => self.add_single(&image.kernel_package, alpine),
        }
        if image.initramfs == InitramfsPlace::Uki {
            self.add_debian(STUB_PACKAGE);
        }
        image
            .firmware
            .packages
            .iter()
            .for_each(|name| self.add_single(name, alpine));
    }

    fn add_single(&mut self, name: &str, alpine: Option<&AlpinePlan>) {
        match (Distribution::split(name), alpine) {
            ((Distribution::Alpine, name), Some(plan)) => {
                self.add(alpine::single_reference(plan), BTreeSet::from([name.to_owned()]));
            }
            _ => self.add_debian(name),
        }
    }

    fn add_debian(&mut self, name: &str) {
        self.add(String::new(), BTreeSet::from([name.to_owned()]));
    }

    fn add(&mut self, from: String, wanted: BTreeSet<String>) {
        self.0.insert((from, wanted));
    }
}
