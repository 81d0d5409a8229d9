//! Power buttons, which come and go with their devices.

use rustix::event::epoll::{self, EventFlags};

use super::{Driver, Token, data};
use crate::supervisor::Goal;

impl Driver {
    pub(super) fn find_power_buttons(&mut self) {
        let Some(power) = &mut self.power else { return };
        for index in power.refresh() {
            if let Some(button) = power.button(index) {
                let _ = epoll::add(&self.epoll, button, data(Token::PowerButton(index)), EventFlags::IN);
            }
        }
    }

    pub(super) fn read_power_button(&mut self, index: usize) {
        let pressed = self.power.as_mut().is_some_and(|power| power.pressed(index));
        if pressed {
            self.shut_down(Goal::Poweroff, "the power button");
        }
    }
}
