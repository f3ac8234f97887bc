"""Run segmentation_models_pytorch's DeepLabV3+ on ResNet-50 (separable, stride 16), in its faster memory format."""

from training_batch import CLASSES, IGNORED, training_batch
from worker import serve, timed


def prepare(options):
    """Prepare frames or training steps, on normalized floats."""
    import torch

    operators = torch.library.Library(
        "torchvision", "DEF"
    )  # torchvision's C library is not there; importing it needs these two names
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import segmentation_models_pytorch as smp

    torch.set_num_threads(options["threads"])
    torch.manual_seed(0)
    model = smp.DeepLabV3Plus("resnet50", encoder_weights=None, classes=CLASSES)
    make = _step if options["task"] == "step" else _frame
    trials = {}
    for layout in (torch.channels_last, torch.contiguous_format):
        work = make(torch, model, options, layout)
        work()
        trials[layout] = min(timed(work) for _ in range(2))
    best = min(trials, key=trials.get)
    versions = "segmentation_models_pytorch {}, torch {}, {}".format(
        smp.__version__, torch.__version__, str(best).partition(".")[2]
    )
    return {"name": versions, "parameters": sum(p.numel() for p in model.parameters())}, make(
        torch, model, options, best
    )


def _frame(torch, model, options, layout):
    model.eval().to(memory_format=layout)
    image = torch.randn(1, 3, *options["size"]).contiguous(memory_format=layout)

    def frame():
        with torch.inference_mode():
            return model(image).argmax(1).numpy()

    return frame


def _step(torch, model, options, layout):
    model.train().to(memory_format=layout)
    optimizer, criterion = torch.optim.Adam(model.parameters(), 0.001), torch.nn.CrossEntropyLoss(ignore_index=IGNORED)
    images, labels = training_batch(options)
    images = torch.from_numpy(images).permute(0, 3, 1, 2).float().sub(115).div(58).contiguous(memory_format=layout)
    labels = torch.from_numpy(labels).long()

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options["precision"] == "mixed_bfloat16"):
            loss = criterion(model(images).float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    serve(prepare)
