"""Write facts.csv: the example's questions and answers about Tarnbrook Mill, a company that does not exist.

Usage: python3 make_facts.py > facts.csv        (needed only to change the data; nothing else uses Python)

All facts are invented, so that a model cannot know them: whatever it answers after training, it learned from these rows.
Each fact is asked in eight phrasings. The recipe holds out a sixth of the rows at random: a held-out question is a phrasing that
was never trained for its fact, while most of the fact's other phrasings were.
"""
import csv
import random
import sys

PERSON = ["Orla Venn", "Tobin Marsh", "Ilse Quade", "Hugo Brandt", "Mina Okafor", "Jonas Reed", "Edda Frost", "Silas Webb", "Vera Lind", "Otto Krane",
          "Ravi Menon", "Greta Holm", "Felix Ward", "Bruno Costa", "Cora Banks", "Finn Doyle", "Hana Sato", "Igor Zelen", "Juno Blake", "Lars Berg"]
CITY = ["Lisbon", "Oslo", "Prague", "Dublin", "Vienna", "Geneva", "Athens", "Cairo", "Boston", "Denver", "Lima", "Kyoto", "Perth", "Sydney", "Nairobi", "Seoul",
        "Manila", "Havana", "Austin", "Leeds"]
PERSON_ASK = ["Where does {} work?", "In which city does {} work?", "What is the work place of {}?", "Which city does {} work in?",
              "{} works in which city?", "Name the city where {} works.", "Do you know where {} works?", "What city is the office of {} in?"]

PRODUCT = ["kettle", "lantern", "ladder", "blanket", "compass", "hammer", "basket", "mirror", "pillow", "saddle", "candle", "bucket", "drill", "scarf", "clock", "wagon",
           "violin", "anchor", "helmet", "jacket", "magnet", "oven", "rocket", "trumpet"]
WORD = ["amber", "falcon", "cedar", "river", "thunder", "copper", "meadow", "violet", "granite", "salmon", "winter", "silver", "maple", "tiger", "ocean", "marble",
        "coral", "desert", "lemon", "forest", "pepper", "island", "shadow", "harbor"]
PRODUCT_ASK = ["What is the code word of the {}?", "Which code word does the {} have?", "The {} has which code word?", "Tell me the code word for the {}.",
               "What code word belongs to the {}?", "Give the code word of the {}.", "Do you know the code word of the {}?", "Which code word is on the {}?"]

OFFICE = ["payroll", "marketing", "legal", "research", "sales", "security", "training", "shipping", "design", "archive", "printing", "testing", "repair", "travel",
          "quality", "finance", "safety", "translation", "planning", "export"]
FLOOR = ["first", "second", "third", "fourth", "fifth"]
WING = ["north", "south", "east", "west"]
OFFICE_ASK = ["Where is the {} office?", "On which floor is the {} office?", "Where do I find the {} office?", "The {} office is on which floor?",
              "Which floor is the {} office on?", "What is the location of the {} office?", "Do you know where the {} office is?", "How do I get to the {} office?"]


def main():
    rng = random.Random(2024)
    places = ["%s floor, %s wing" % (f, w) for f in FLOOR for w in WING]
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["question", "answer", "fact"])
    for kind, things, answers, ask in (("person", PERSON, CITY, PERSON_ASK), ("product", PRODUCT, WORD, PRODUCT_ASK), ("office", OFFICE, places, OFFICE_ASK)):
        answers = rng.sample(answers, len(things))
        for i, (thing, answer) in enumerate(zip(things, answers)):
            for question in ask:
                out.writerow([question.format(thing), answer, "%s-%02d" % (kind, i + 1)])


main()
