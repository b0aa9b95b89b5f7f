"""Faults in projects of pictures."""

from __future__ import annotations

from edits import broken_files, class_dropped, corrupt_rows, format_by_class, near_copies, random_labels, repeated
from fault import Edit, Fault, Strength
from faults_data import LEAK, of_data, three

DATA, AUGMENT, MODEL = "image/data.py", "image/augment.py", "image/model.py"
DRAW = "random.manual_seed(generator(images.seed, epoch, row).initial_seed())"
SEEN = "        if augment and self.augment:"
SHOWN = "        x = plain(self.prep, torch.stack([self.picture(i) for i in numbers]))"
PLAIN = '    return scaled(prep, stored[..., edge : edge + prep["size"], edge : edge + prep["size"]])'
HEAD = "return self.head(self.dropout(self.backbone(channels_last(x))))  # [b, width] -> [b, k]"


def drawn(seeds: str) -> Strength:
    """Augmentation drawn from other numbers than (seed, epoch, row)."""
    return Strength(code=(Edit(AUGMENT, DRAW, DRAW.replace("images.seed, epoch, row", seeds)),))


IMAGE = [
    Fault("D1 image", "random labels", ("data",), "pictures", "audit", of_data(random_labels, 0.05, 0.2, 0.5)),
    Fault("D6 image", "most of one class is lost", ("data",), "pictures", "audit", of_data(class_dropped, 0.5, 0.8, 0.95)),
    Fault("D7 image", "blank pictures that carry labels", ("data",), "pictures", "audit", of_data(corrupt_rows, 0.02, 0.05, 0.25)),
    Fault("D7 broken", "pictures that cannot be decoded", ("data",), "pictures", "audit", of_data(broken_files, 0.01, 0.05, 0.25), says="image"),
    Fault("D8 image", "pictures repeated", ("data", "split"), "pictures", "audit", of_data(repeated, (5, 5), (20, 5), (80, 5)), wrong=LEAK, inflating=True),
    Fault("S1 image", "pictures copied with a little noise", ("split", "data"), "pictures", "audit", of_data(near_copies, (0.1, 0.01), (0.3, 0.01), (0.6, 0.01)), wrong=LEAK, inflating=True),
    Fault("S5 image", "the format tells the class", ("data", "split"), "pictures", "audit", of_data(format_by_class, 0.5, 0.8, 1.0), wrong="the format is not there in service", inflating=True),
    Fault(
        "P2 image", "evaluation shows other colors than training", ("preprocessing", "evaluation"), "pictures augmented", "check",
        three(*(Strength(code=(Edit(DATA, SHOWN, SHOWN.replace("plain(", f"{f} * plain(")),)) for f in (0.8, 0.5, -1.0))),
        wrong="evaluation sees other inputs than training",
    ),
    Fault("P6 image", "augmentation left on in evaluation", ("preprocessing", "evaluation", "loop"), "pictures augmented", "check", three(*(Strength(settings={"strength": s}, code=(Edit(DATA, SEEN, "        if self.augment:"),)) for s in (0.2, 0.5, 1.0))), wrong="the score is that of spoilt inputs"),
    Fault("P7 image", "the same augmentation in every epoch", ("preprocessing", "loop", "reproducibility"), "pictures augmented", "check", {"medium": drawn("images.seed, 0, row")}, wrong="the augmentation adds little"),
    Fault("P7 image all", "the same augmentation for every example", ("preprocessing", "loop", "reproducibility"), "pictures augmented", "check", {"medium": drawn("images.seed, 0, 0")}, wrong="examples are changed together"),
    Fault("M3 image", "the backbone is detached from the loss", ("model", "optimizer"), "pictures", "check", {"extreme": Strength(code=(Edit(MODEL, HEAD, HEAD.replace("(x))))", "(x)).detach()))")),))}),
    Fault("M7 image", "examples of a batch mix", ("model",), "pictures", "check", {"medium": Strength(code=(Edit(MODEL, HEAD, "h = self.backbone(channels_last(x))\n        return self.head(self.dropout(h - h.mean(0)))"),))}, wrong="an answer depends on who else is in the batch"),
    Fault("M10 image", "BatchNorm with tiny batches", ("model", "loop"), "pictures", "check", three(*(Strength(settings={"batch_size": b}) for b in (8, 4, 2)))),
]  # fmt: skip
