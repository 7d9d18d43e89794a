package dev.slmexport.demo.task

/** What a model says of a text, for people. */
sealed interface Reply

class Score(val label: String, val value: Float, val chosen: Boolean = false)

/** Labels by probability; of a label set every label that was chosen is marked. */
class Scores(val scores: List<Score>) : Reply

class Quantity(val value: Float) : Reply

/** Characters of a text that a tag stands for. */
class TaggedSpan(val range: IntRange, val label: String)

class Tags(val text: String, val spans: List<TaggedSpan>) : Reply

/** Where a context answers the question; null where it does not. */
class Passage(val context: String, val range: IntRange?) : Reply

/** Other texts, the nearest first. */
class Neighbours(val scores: List<Score>) : Reply

/** What could stand at each mask, the likeliest first. */
class Fills(val masks: List<List<Score>>) : Reply
