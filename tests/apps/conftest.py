"""Generated pictures and runs that several tests of the apps share."""

import json
import random
from pathlib import Path

import pytest
from onetrunk.apps.config import OptimOptions
from PIL import Image, ImageDraw

COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}


def draw(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    """Write a 48x40 picture of a coloured disc on noise."""
    generator = random.Random(seed)
    image = Image.effect_noise((48, 40), 60).convert("RGB")
    x, y = generator.randint(4, 20), generator.randint(2, 12)
    ImageDraw.Draw(image).ellipse((x, y, x + 24, y + 24), fill=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ (3 x 11) and val/ (3 x 5) pictures of three classes that are easy to tell apart."""
    root = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 11), ("val", 5)):
        for place, (name, colour) in enumerate(COLOURS.items()):
            for index in range(count):
                draw(root / split / name / f"{index:02}.png", colour, seed=1000 * place + index)
    return root


@pytest.fixture(scope="session")
def subject_table(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the pictures in which subjects have two each, and the last of each class and split has one."""
    table = tmp_path_factory.mktemp("subjects") / "subjects.csv"
    rows = ["path,label,subject,split"]
    for picture in sorted(pictures.rglob("*.png")):
        split, label = picture.parts[-3:-1]
        rows.append(f"{picture},{label},{label}-{split}-{int(picture.stem) // 2},{split}")
    table.write_text("\n".join(rows) + "\n")
    return table


@pytest.fixture(scope="session")
def label_table(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of pictures side by side: each with one or two of three colours, or with none."""
    root = tmp_path_factory.mktemp("labels")
    lines = ["path,labels,split"]
    for split, count in (("train", 11), ("val", 5)):
        for index in range(count):
            one = {name: Image.open(pictures / split / name / f"{index:02}.png") for name in COLOURS}
            noise = Image.effect_noise((48, 40), 60).convert("RGB")
            for names in ("blue", "green", "red", "blue;red", "blue;green", "green;red", ""):
                halves = [one[name] for name in names.split(";") if name] + [noise]
                picture = Image.new("RGB", (96, 40))
                picture.paste(halves[0], (0, 0))
                picture.paste(halves[1 % len(halves)], (48, 0))
                name = f"{split}-{index}-{names.replace(';', '-') or 'none'}.png"
                picture.save(root / name)
                lines.append(f"{name},{names},{split}")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return root / "table.csv"


@pytest.fixture(scope="session")
def box_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 3 x 8 and 3 x 4 pictures, 48x40, of a disc and its box; the first have a second."""
    root = tmp_path_factory.mktemp("boxes")
    lines, generator = ["path,label,split,xmin,ymin,xmax,ymax"], random.Random(0)
    for split, count in (("train", 8), ("val", 4)):
        for name, colour in COLOURS.items():
            for index in range(count):
                image = Image.effect_noise((48, 40), 60).convert("RGB")
                x, y, side = generator.randint(0, 22), generator.randint(0, 14), generator.randint(16, 24)
                boxes = [(x, y, x + side, y + side)] + ([(0, 30, 8, 38)] if index == 0 else [])
                for box in boxes:
                    ImageDraw.Draw(image).ellipse((box[0], box[1], box[2] - 1, box[3] - 1), fill=colour)
                    lines.append(f"{split}-{name}-{index}.png,{name},{split},{','.join(map(str, box))}")
                image.save(root / f"{split}-{name}-{index}.png")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return root / "table.csv"


@pytest.fixture(scope="session")
def mask_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images/ and masks/ of train (12) and val (7): coloured discs on noise, 48x40, ignored rims."""
    root = tmp_path_factory.mktemp("masks")
    (root / "classes.txt").write_text("background\n" + "\n".join(COLOURS) + "\n")
    generator = random.Random(0)
    for split, count in (("train", 12), ("val", 7)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            image, mask = Image.effect_noise((48, 40), 60).convert("RGB"), Image.new("L", (48, 40))
            for value in generator.sample((1, 2, 3), 2):
                x, y = generator.randint(0, 28), generator.randint(0, 20)
                ImageDraw.Draw(image).ellipse((x, y, x + 18, y + 18), fill=COLOURS[list(COLOURS)[value - 1]])
                ImageDraw.Draw(mask).ellipse((x, y, x + 18, y + 18), fill=value, outline=255)
            image.save(root / split / "images" / f"{index:02}.png")
            mask.save(root / split / "masks" / f"{index:02}.png")
    return root


@pytest.fixture(scope="session")
def object_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO folder of train (16) and val (8) pictures, 64x48, of discs, with everything that detectors stumble over.

    Category ids with gaps and one of 0; pictures without objects; a crowd; a box without area; a picture with an EXIF
    rotation, whose boxes are those of the upright one; one box over the edge.
    """
    root = tmp_path_factory.mktemp("objects")
    generator = random.Random(0)
    (root / "annotations").mkdir()
    for split, count in (("train", 16), ("val", 8)):
        images: list[dict[str, object]] = []
        annotations: list[dict[str, object]] = []
        for index in range(count):
            image = Image.effect_noise((64, 48), 60).convert("RGB")
            boxes = [] if index % 5 == 4 else [_disc(image, generator, place) for place in (index % 3, (index + 1) % 3)]
            name = f"{index:02}.jpg" if index == 1 else f"{index:02}.png"
            exif = Image.Exif()
            if index == 1:
                exif[0x0112] = 6  # stored a quarter turn from upright
                image = image.transpose(Image.Transpose.ROTATE_90)
            (root / split).mkdir(exist_ok=True)
            image.save(root / split / name, exif=exif, quality=95)
            images.append({"id": 10 * index + 1, "file_name": name, "width": 64, "height": 48})
            for category, box in boxes:
                row = {"image_id": 10 * index + 1, "category_id": category, "bbox": box, "area": box[2] * box[3]}
                annotations.append({"id": len(annotations) + 1, "iscrowd": 0, **row})
        more = ((1, 17, [5, 5, 0, 9], 0), (1, 90, [0, 0, 64, 10], 1), (21, 17, [50, 30, 20, 10], 0))
        for image_id, category, box, crowd in more:
            row = {"image_id": image_id, "category_id": category, "bbox": box, "area": box[2] * box[3]}
            annotations.append({"id": len(annotations) + 1, "iscrowd": crowd, **row})
        categories = [{"id": number, "name": name} for number, name in zip((0, 17, 90), COLOURS, strict=True)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def _disc(image: Image.Image, generator: random.Random, place: int) -> tuple[int, list[int]]:
    """Draw a disc of the colour in a half of the picture; return its category and box."""
    x, y, side = generator.randint(0, 8) + 32 * (place % 2), generator.randint(0, 20), generator.randint(18, 22)
    colour = list(COLOURS.values())[place]
    ImageDraw.Draw(image).ellipse((x, y, x + side - 1, y + side - 1), fill=colour)
    return (0, 17, 90)[place], [x, y, side, side]


@pytest.fixture(scope="session")
def caption_table(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the pictures, 33 of train and 15 of val, with two captions each, in as many rows."""
    table = tmp_path_factory.mktemp("captions") / "captions.csv"
    rows = ["path,caption,split"]
    for picture in sorted(pictures.rglob("*.png")):
        split, colour = picture.parts[-3:-1]
        rows += [f"{picture},A {colour} disc on grey noise.,{split}", f'{picture},"One round thing, {colour}",{split}']
    table.write_text("\n".join(rows) + "\n")
    return table


@pytest.fixture(scope="session")
def question_table(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the pictures, 33 of train and 15 of val, with three questions each, in as many rows."""
    table = tmp_path_factory.mktemp("questions") / "questions.csv"
    rows = ["path,question,answer,question_type,answer_type,split"]
    for place, picture in enumerate(sorted(pictures.rglob("*.png"))):
        split, colour = picture.parts[-3:-1]
        other = list(COLOURS)[place % 3]
        rows.append(f"{picture},What colour is the disc?,{colour},what colour,other,{split}")
        rows.append(f"{picture},Is the disc {other}?,{'yes' if other == colour else 'no'},is the,yes/no,{split}")
        rows.append(f"{picture},How many discs are there?,1,how many,number,{split}")
    table.write_text("\n".join(rows) + "\n")
    return table


@pytest.fixture(scope="session")
def label_voc(label_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of the table as a folder in the VOC layout."""
    root = tmp_path_factory.mktemp("voc")
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    for line in label_table.read_text().splitlines()[1:]:
        file, names, split = line.split(",")
        stem = Path(file).stem
        Image.open(label_table.with_name(file)).save(root / "JPEGImages" / f"{stem}.jpg")
        objects = "".join(f"<object><name>{name}</name>{box}</object>" for name in names.split(";") if name)
        annotation = f"<annotation><filename>{stem}.jpg</filename>{objects}</annotation>"
        (root / "Annotations" / f"{stem}.xml").write_text(annotation)
        with (root / "ImageSets" / "Main" / f"{split}.txt").open("a") as stream:
            stream.write(f"{stem}\n")
    return root


@pytest.fixture(scope="session")
def trained_run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small classification run that learned the pictures."""
    from onetrunk.apps import classification

    run = tmp_path_factory.mktemp("trained") / "run"
    classification.train(
        classification.TrainOptions(
            data=str(pictures),
            backbone="timm/test_resnet",
            weights="none",
            image_size=[32],
            epochs=6,
            batch_size=8,
            workers=0,
            learning_rate=0.01,
            output=str(run),
            device="cpu",
            optim=OptimOptions(trunk_factor=1.0),
        )
    )
    return run
