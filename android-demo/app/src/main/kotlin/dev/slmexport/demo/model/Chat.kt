package dev.slmexport.demo.model

import org.json.JSONObject

class Turn(val role: String, val content: String)

/** How a conversation is written for the model: what its template comes to, as text before and after each turn. */
class Chat(private val json: JSONObject) {
    /** Why the template has no such form, or null. */
    val refused: String? = json.text("refused")

    /** What the model reads before it answers the last turn. */
    fun prompt(turns: List<Turn>): String {
        check(refused == null) { "This model's chat template cannot be applied here: $refused." }
        val said = turns.filterNot { it.role == "system" && it.content.isBlank() }
        val system = json.text("default_system")?.takeIf { said.none { it.role == "system" } }
        val all = listOfNotNull(system?.let { Turn("system", it) }) + said
        return json.getString("start") + all.joinToString("", transform = ::written) + json.getString("answer")
    }

    private fun written(turn: Turn): String {
        val around = json.getJSONObject("turns").optJSONObject(turn.role)
            ?: throw IllegalArgumentException("This model's chats have no turns of the role ${turn.role}.")
        return around.getString("prefix") + content(turn.content, around) + around.getString("suffix")
    }

    /** `behind`: of a content that holds this, only what comes after it is written. */
    private fun content(text: String, around: JSONObject): String {
        val behind = around.text("behind")
        val kept = if (behind != null && behind in text) text.substringAfterLast(behind).trimStart('\n') else text
        return if (around.optBoolean("trim")) kept.trim() else kept
    }
}
