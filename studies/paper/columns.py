"""The table of the study: one row for each model."""

# In order; a cell is empty where a model has no such figure.
COLUMNS = (
    *("group", "method", "k", "scope", "sigma", "draw", "seed", "arch", "descrambler", "recipe"),
    *("epochs", "batch_size", "lr", "lr_decay", "reg", "n_train", "n_val", "n_test"),
    *("val_accuracy", "test_accuracy", "test_accuracy_low", "test_accuracy_high", "final_train_loss"),
    *("blocks_exact", "blocks_none", "pixels_right", "blocks_by_right_pixels"),
    *("seconds", "device", "processor", "precision", "code", "status", "fingerprint"),
)
