"""Layer retraining: one group starts anew and sees the clean examples alone (paper §5.2)."""
